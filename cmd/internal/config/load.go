package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"gvlan/ipam/pool"
)

// Setting is an option with its value and where that came from.
type Setting struct {
	option
	text   string
	Origin string // "default", GVLAN_X, --x or file:line
}

// Shown is the value as it may be printed.
func (s Setting) Shown() string {
	if s.secret && s.text != "" {
		return hidden
	}
	return s.text
}

// Settings is a whole configuration, before it is checked for sense.
type Settings struct {
	Config   Config
	List     []Setting // as options() orders them
	Parents  []Setting // from the file only
	File     string    // that was read; "" when there is none
	Warnings []string
}

// Load collects every setting from flags, environment (as os.Environ) and file;
// it reports all that cannot be parsed at once.
func Load(flags *pflag.FlagSet, environ []string) (Settings, error) {
	return sources{flags: flags, environ: environ}.load()
}

// sources is where settings come from, the strongest first.
type sources struct {
	flags   *pflag.FlagSet
	environ []string // as os.Environ
}

// AddFlags registers the options with these names, or all without names, and
// --config.
func AddFlags(flags *pflag.FlagSet, names ...string) {
	flags.String("config", "", "`FILE` with settings (default "+DefaultFile+", if it is there)")
	for _, o := range options() {
		if len(names) > 0 && !slices.Contains(names, o.Name) {
			continue
		}
		flags.String(o.Name, o.preset, o.usage)
		if flag := flags.Lookup(o.Name); between(o.field(new(Config))) == ";" {
			flag.Value = &repeated{between: ";"}
		}
		if o.bare() {
			flags.Lookup(o.Name).NoOptDefVal = "on"
		}
	}
}

// repeated is a list that is given item by item.
type repeated struct{ text, between string }

// String implements pflag.Value.
func (r *repeated) String() string { return r.text }

// Set implements pflag.Value.
func (r *repeated) Set(item string) error {
	if r.text != "" {
		item = r.text + r.between + item
	}
	r.text = item
	return nil
}

// Type implements pflag.Value.
func (r *repeated) Type() string { return "string" }

// AddAgentFlags registers what an operator command needs to find its agent, and
// the other options that it needs while that one does not answer.
func AddAgentFlags(flags *pflag.FlagSet, others ...string) {
	AddFlags(flags, append([]string{"status-socket", "swarm"}, others...)...)
	flags.Lookup("swarm").Usage = "ask the managed plugin of this swarm node, not the agent for plain Docker"
}

func (s sources) load() (Settings, error) {
	file, err := s.openFile()
	if err != nil {
		return Settings{}, err
	}
	loaded := Settings{File: file.path, Warnings: s.unknownVariables()}
	var problems []error
	for _, o := range options() {
		set := s.find(o, file)
		if set.text == "" && set.Origin == "default" {
			loaded.List = append(loaded.List, set)
			continue
		}
		if err := assign(o.field(&loaded.Config), set.text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", set.Origin, err))
		}
		loaded.List = append(loaded.List, set)
	}
	loaded.takeParents(file)
	loaded.Config.SecretsIn = file.secretsIn()
	if err := errors.Join(problems...); err != nil {
		return Settings{}, err
	}
	loaded.swarmDefaults()
	return loaded, nil
}

// find applies the precedence: flag, environment, file, default.
func (s sources) find(o option, file configFile) Setting {
	if flag := s.flags.Lookup(o.Name); flag != nil && flag.Changed {
		return Setting{option: o, text: flag.Value.String(), Origin: "--" + o.Name}
	}
	if text, ok := s.variable(o.env()); ok {
		return Setting{option: o, text: text, Origin: o.env()}
	}
	if value, ok := file.values[o.Name]; ok {
		return Setting{option: o, text: value.text, Origin: file.at(value.line) + " " + o.Name}
	}
	return Setting{option: o, text: o.preset, Origin: "default"}
}

// variable reads one environment variable; an empty one counts as not set,
// because that is how a managed plugin's settable variables begin.
func (s sources) variable(name string) (string, bool) {
	for _, pair := range s.environ {
		if text, ok := strings.CutPrefix(pair, name+"="); ok {
			return text, text != ""
		}
	}
	return "", false
}

// openFile reads the file that was asked for, or the default one if there.
func (s sources) openFile() (configFile, error) {
	path := DefaultFile
	named := false
	if flag := s.flags.Lookup("config"); flag != nil && flag.Changed {
		path, named = flag.Value.String(), true
	} else if text, ok := s.variable("GVLAN_CONFIG"); ok {
		path, named = text, true
	}
	file, err := readConfigFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return configFile{}, nil
	}
	return file, err
}

// unknownVariables finds GVLAN_* variables that set nothing. They are
// warnings: the environment belongs to others too.
func (s sources) unknownVariables() []string {
	known := []string{"GVLAN_CONFIG"}
	for _, o := range options() {
		known = append(known, o.env())
	}
	var warnings []string
	for _, pair := range s.environ {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "GVLAN_") || slices.Contains(known, name) {
			continue
		}
		warning := "environment variable " + name + " sets nothing"
		if near := pool.Nearest(name, known); near != "" {
			warning += "; did you mean " + near + "?"
		}
		warnings = append(warnings, warning)
	}
	slices.Sort(warnings)
	return warnings
}

// takeParents copies the [parents] table, which has no flags.
func (l *Settings) takeParents(file configFile) {
	l.Config.Parents.Networks = map[string]string{}
	for key, value := range file.values {
		if name, ok := strings.CutPrefix(key, parentsNetworksKey); ok {
			l.Config.Parents.Networks[name] = value.text
		} else if key == parentsDefaultKey {
			l.Config.Parents.Default = value.text
		} else {
			continue
		}
		l.Parents = append(l.Parents, Setting{option: option{Name: key}, text: value.text, Origin: file.at(value.line) + " " + key})
	}
	slices.SortFunc(l.Parents, func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })
}

// swarmDefaults moves what a managed plugin must not share with a socket
// agent on the same host.
func (l *Settings) swarmDefaults() {
	if !l.Config.Swarm {
		return
	}
	l.redefault("driver-name", "gvlan-swarm:latest")
	l.redefault("status-socket", "/run/gvlan/"+SwarmSocket)
	l.redefault("route-protocol", "119") // a socket agent of the host has routes by the same interfaces
}

// redefault replaces a default that nobody set.
func (l *Settings) redefault(name, text string) {
	for i := range l.List {
		s := &l.List[i]
		if s.Name == name && s.Origin == "default" {
			s.text, s.Origin = text, "default with --swarm"
			if err := assign(s.field(&l.Config), text); err != nil {
				panic(fmt.Sprintf("default of --%s with --swarm: %v", name, err))
			}
		}
	}
}

// chosen reports whether anybody set the option.
func (l *Settings) chosen(name string) bool {
	return slices.ContainsFunc(l.List, func(s Setting) bool {
		return s.Name == name && !strings.HasPrefix(s.Origin, "default")
	})
}
