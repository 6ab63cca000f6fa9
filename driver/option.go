package driver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gvlan/driver/link"
	"gvlan/ipam/pool"
	"gvlan/parentfile"
)

// ErrOption is wrapped by every refusal of a `-o` option.
var ErrOption = errors.New("bad option")

// Scope is how far a network made on this host reaches.
type Scope string

const (
	// ScopeDefault leaves the choice to the engine's labels (decision 11).
	ScopeDefault Scope = ""
	ScopeGlobal  Scope = "global"
	ScopeLocal   Scope = "local"
)

// Options is what `docker network create -o` said.
type Options struct {
	Parent     string    `json:"parent,omitempty"`     // the candidates list, raw
	ParentFile string    `json:"parentFile,omitempty"` // absolute path, read on each host
	Kind       link.Kind `json:"kind"`                 // Macvlan or Ipvlan
	Mode       link.Mode `json:"mode"`                 // of that kind, never empty
	Flag       link.Flag `json:"flag,omitempty"`       // of ipvlan, then never empty
	MTU        int       `json:"mtu,omitempty"`        // 0: the parent's
	IfPrefix   string    `json:"ifPrefix,omitempty"`   // of interfaces inside containers; "": eth
	Scope      Scope     `json:"scope,omitempty"`
	NoGateway  bool      `json:"noGateway,omitempty"` // -o gateway=none
	NoDNS      bool      `json:"noDNS,omitempty"`     // -o dns=off
	// Unheeded are Docker's own keys that mean nothing on such a network.
	Unheeded []string `json:"unheeded,omitempty"`
	// Old holds the old spellings that were used, for one log line.
	Old []string `json:"-"`
}

// Layer3 tells whether the network routes instead of switching: no gateway,
// no broadcast.
func (o Options) Layer3() bool { return o.Kind == link.Ipvlan && o.Mode != link.L2 }

// optionNames are today's names.
var optionNames = []string{
	"parent", "parent-file", "kind", "macvlan_mode", "ipvlan_mode", "ipvlan_flag",
	"mtu", "scope", "gateway", "dns",
}

// oldSpellings are names the oldest guides print, with today's.
func oldSpelling(name string) (string, bool) {
	bare := strings.TrimLeft(name, "-")
	switch bare {
	case "host_iface", "host_interface":
		return "parent", true
	}
	return bare, bare != name
}

// dockersOwn tells Docker's own keys, which are never unknown.
func dockersOwn(name string) bool {
	return strings.HasPrefix(name, keyPrefix) || name == "RequestAddressType"
}

// ParseOptions reads the options of a network. Unknown names are refused
// with the nearest known one; the error wraps ErrOption.
func ParseOptions(raw map[string]string) (Options, error) {
	o := Options{}
	modes := modeOptions{}
	for _, given := range slices.Sorted(maps.Keys(raw)) {
		if dockersOwn(given) {
			if err := o.setDockers(&modes, given, strings.TrimSpace(raw[given])); err != nil {
				return Options{}, err
			}
			continue
		}
		name, old := oldSpelling(given)
		if old {
			o.Old = append(o.Old, given)
		}
		if err := o.set(&modes, name, given, strings.TrimSpace(raw[given])); err != nil {
			return Options{}, err
		}
	}
	if err := o.settle(modes); err != nil {
		return Options{}, err
	}
	return o, nil
}

// modeOptions are the options as given that others have to be compared with.
type modeOptions struct {
	macvlan, ipvlan link.Mode
	flag            link.Flag
	dockersMTU      int // by Docker's own key
}

func (o *Options) set(modes *modeOptions, name, given, value string) error {
	switch name {
	case "parent":
		return o.setParent(value)
	case "parent-file":
		return o.setParentFile(value)
	case "macvlan_mode":
		return choose(&modes.macvlan, name, value, link.Bridge, link.Private, link.VEPA, link.Passthru)
	case "ipvlan_mode":
		return choose(&modes.ipvlan, name, value, link.L2, link.L3, link.L3S)
	case "ipvlan_flag":
		return choose(&modes.flag, name, value, link.FlagBridge, link.FlagPrivate, link.FlagVEPA)
	case "kind":
		return choose(&o.Kind, name, value, link.Macvlan, link.Ipvlan)
	case "scope":
		return choose(&o.Scope, name, value, ScopeGlobal, ScopeLocal)
	case "gateway":
		return o.setGateway(value)
	case "dns":
		return o.setDNS(value)
	case "mtu":
		mtu, err := parseMTU(name, value)
		o.MTU = mtu
		return err
	}
	return unknownOption(given, name, value)
}

// choose sets one of a few words.
func choose[T ~string](to *T, name, value string, allowed ...T) error {
	word := T(strings.ToLower(value))
	if !slices.Contains(allowed, word) {
		return fmt.Errorf("%w: -o %s=%q is not one of %s", ErrOption, name, value, sentence(allowed))
	}
	*to = word
	return nil
}

// sentence lists words with commas.
func sentence[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// setParent checks the list; one without a candidate is no parent.
func (o *Options) setParent(value string) error {
	list, err := parentfile.Parse(value)
	if err != nil {
		return fmt.Errorf("%w: -o parent=%q: %w", ErrOption, value, err)
	}
	if !list.Empty() {
		o.Parent = value
	}
	o.Old = append(o.Old, list.Old...)
	return nil
}

func (o *Options) setParentFile(value string) error {
	if err := parentfile.CheckPath(value); err != nil {
		return fmt.Errorf("%w: -o parent-file=%q: %w", ErrOption, value, err)
	}
	o.ParentFile = value
	return nil
}

func (o *Options) setGateway(value string) error {
	if value != "none" {
		return fmt.Errorf("%w: -o gateway=%q: only gateway=none is an option (an address is given with --gateway)", ErrOption, value)
	}
	o.NoGateway = true
	return nil
}

func (o *Options) setDNS(value string) error {
	word := "on"
	if err := choose(&word, "dns", value, "on", "off"); err != nil {
		return err
	}
	o.NoDNS = word == "off"
	return nil
}

// minMTU is the least an IPv4 host must take in (RFC 791); maxMTU is the
// kernel's ETH_MAX_MTU.
const (
	minMTU = 68
	maxMTU = 65535
)

func parseMTU(name, value string) (int, error) {
	mtu, err := strconv.Atoi(value)
	if err != nil || mtu < minMTU || mtu > maxMTU {
		return 0, fmt.Errorf("%w: -o %s=%q is not a number of bytes from %d to %d", ErrOption, name, value, minMTU, maxMTU)
	}
	return mtu, nil
}

// unknownOption names what was probably meant.
func unknownOption(given, name, value string) error {
	given, value = printable(given), printable(value)
	if name == "" {
		return fmt.Errorf("%w: -o %s=%s has no name: did you mean parent=%s?", ErrOption, given, value, value)
	}
	if near := pool.Nearest(name, optionNames); near != "" {
		return fmt.Errorf("%w: -o %s is unknown: did you mean %s?", ErrOption, given, near)
	}
	return fmt.Errorf("%w: -o %s is unknown: the options are %s", ErrOption, given, sentence(optionNames))
}

// printable quotes a word that holds what does not belong in one line.
func printable(word string) string {
	if strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(word)
	}
	return word
}

// settle finds the kind and mode that the options together ask for, and
// refuses the ones that contradict each other.
func (o *Options) settle(modes modeOptions) error {
	if err := o.settleMTU(modes); err != nil {
		return err
	}
	ipvlan := modes.ipvlan != "" || modes.flag != ""
	if modes.macvlan != "" && ipvlan {
		return fmt.Errorf("%w: macvlan_mode and ipvlan_mode (or ipvlan_flag) exclude each other: a network is either macvlan or ipvlan", ErrOption)
	}
	if o.Kind == link.Ipvlan && modes.macvlan != "" {
		return fmt.Errorf("%w: -o macvlan_mode=%s does not fit kind=ipvlan: use ipvlan_mode", ErrOption, modes.macvlan)
	}
	if o.Kind == link.Macvlan && ipvlan {
		return fmt.Errorf("%w: ipvlan_mode and ipvlan_flag do not fit kind=macvlan: use macvlan_mode", ErrOption)
	}
	if o.Parent != "" && o.ParentFile != "" {
		return fmt.Errorf("%w: -o parent=%q and -o parent-file=%q exclude each other", ErrOption, o.Parent, o.ParentFile)
	}
	if o.Kind == "" {
		o.Kind = link.Macvlan
		if ipvlan {
			o.Kind = link.Ipvlan
		}
	}
	if o.Kind == link.Macvlan {
		o.Mode = orDefault(modes.macvlan, link.Bridge)
		return nil
	}
	o.Mode = orDefault(modes.ipvlan, link.L2)
	o.Flag = orDefault(modes.flag, link.FlagBridge)
	return nil
}

func orDefault[T ~string](value, otherwise T) T {
	if value == "" {
		return otherwise
	}
	return value
}
