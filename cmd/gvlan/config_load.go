package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"gvlan/ipam/pool"
)

// setting is an option with its value and where that came from.
type setting struct {
	option
	text   string
	origin string // "default", GVLAN_X, --x or file:line
}

// shown is the value as it may be printed.
func (s setting) shown() string {
	if s.secret && s.text != "" {
		return "(secret)"
	}
	return s.text
}

// settings is a whole configuration, before it is checked for sense.
type settings struct {
	config   Config
	list     []setting // as options() orders them
	parents  []setting // from the file only
	file     string    // that was read; "" when there is none
	warnings []string
}

// load collects every setting from flags, environment (as os.Environ) and file;
// it reports all that cannot be parsed at once.
func load(flags *pflag.FlagSet, environ []string) (settings, error) {
	return sources{flags: flags, environ: environ}.load()
}

// sources is where settings come from, the strongest first.
type sources struct {
	flags   *pflag.FlagSet
	environ []string // as os.Environ
}

// addFlags registers the options with these names, or all without names, and
// --config.
func addFlags(flags *pflag.FlagSet, names ...string) {
	flags.String("config", "", "`FILE` with settings (default "+defaultConfigFile+", if it is there)")
	for _, o := range options() {
		if len(names) > 0 && !slices.Contains(names, o.name) {
			continue
		}
		flags.String(o.name, o.preset, o.usage)
		if o.bare() {
			flags.Lookup(o.name).NoOptDefVal = "on"
		}
	}
}

// addAgentFlags registers what an operator command needs to find its agent.
func addAgentFlags(flags *pflag.FlagSet) {
	addFlags(flags, "status-socket", "swarm")
	flags.Lookup("swarm").Usage = "ask the managed plugin of this swarm node, not the agent for plain Docker"
}

func (s sources) load() (settings, error) {
	file, err := s.openFile()
	if err != nil {
		return settings{}, err
	}
	loaded := settings{file: file.path, warnings: s.unknownVariables()}
	var problems []error
	for _, o := range options() {
		set := s.find(o, file)
		if set.text == "" && set.origin == "default" {
			loaded.list = append(loaded.list, set)
			continue
		}
		if err := assign(o.field(&loaded.config), set.text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", set.origin, err))
		}
		loaded.list = append(loaded.list, set)
	}
	loaded.takeParents(file)
	if err := errors.Join(problems...); err != nil {
		return settings{}, err
	}
	loaded.swarmDefaults()
	return loaded, nil
}

// find applies the precedence: flag, environment, file, default.
func (s sources) find(o option, file configFile) setting {
	if flag := s.flags.Lookup(o.name); flag != nil && flag.Changed {
		return setting{option: o, text: flag.Value.String(), origin: "--" + o.name}
	}
	if text, ok := s.variable(o.env()); ok {
		return setting{option: o, text: text, origin: o.env()}
	}
	if value, ok := file.values[o.name]; ok {
		return setting{option: o, text: value.text, origin: file.at(value.line) + " " + o.name}
	}
	return setting{option: o, text: o.preset, origin: "default"}
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
	path := defaultConfigFile
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
func (l *settings) takeParents(file configFile) {
	l.config.Parents.Networks = map[string]string{}
	for key, value := range file.values {
		if name, ok := strings.CutPrefix(key, parentsNetworksKey); ok {
			l.config.Parents.Networks[name] = value.text
		} else if key == parentsDefaultKey {
			l.config.Parents.Default = value.text
		} else {
			continue
		}
		l.parents = append(l.parents, setting{option: option{name: key}, text: value.text, origin: file.at(value.line) + " " + key})
	}
	slices.SortFunc(l.parents, func(a, b setting) int { return strings.Compare(a.name, b.name) })
}

// swarmDefaults moves what a managed plugin must not share with a socket
// agent on the same host.
func (l *settings) swarmDefaults() {
	if !l.config.Swarm {
		return
	}
	l.redefault("driver-name", "gvlan-swarm:latest")
	l.redefault("status-socket", "/run/gvlan/"+swarmSocket)
}

// redefault replaces a string that nobody set.
func (l *settings) redefault(name, text string) {
	for i := range l.list {
		s := &l.list[i]
		if s.name == name && s.origin == "default" {
			s.text, s.origin = text, "default with --swarm"
			*s.field(&l.config).(*string) = text
		}
	}
}

// chosen tells whether anybody set the option.
func (l *settings) chosen(name string) bool {
	return slices.ContainsFunc(l.list, func(s setting) bool {
		return s.name == name && !strings.HasPrefix(s.origin, "default")
	})
}

// readSecrets replaces the *-file settings by the files' content.
func (c *Config) readSecrets() error {
	return errors.Join(
		c.readToken(),
		readSecret("etcd-password-file", c.Etcd.PasswordFile, &c.Etcd.Password),
		readSecret("dns-update-secret-file", c.DNS.Update.SecretFile, &c.DNS.Update.Secret),
	)
}

func (c *Config) readToken() error {
	err := readSecret("token-file", c.Join.TokenFile, &c.Join.Token)
	if err != nil || c.Join.TokenFile == "" {
		return err
	}
	return checkToken("token-file", c.Join.Token)
}

func readSecret(name, path string, into *string) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read --%s: %w", name, err)
	}
	*into = strings.TrimSpace(string(text))
	if *into == "" {
		return fmt.Errorf("read --%s: %s is empty", name, path)
	}
	return nil
}
