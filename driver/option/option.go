// Package option is what users say of a network and of a container on it: the
// `-o` options and Docker's own keys (Options), the driver-opts of an
// attachment (EndpointOptions), the engine's labels, the changes of `network
// set` (Set), and the one rule of who has a gateway. It is pure: text in, values or a refusal out, and a refusal
// names what was probably meant.
package option

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"gvlan/driver/link"
	"gvlan/driver/visible"
	"gvlan/ipam/pool"
	"gvlan/parentfile"
)

// Links describes the network's links, for messages.
func (o Options) Links() string {
	if o.Kind == link.Ipvlan && o.Flag != link.FlagBridge {
		return fmt.Sprintf("%s %s %s", o.Kind, o.Mode, o.Flag)
	}
	return fmt.Sprintf("%s %s", o.Kind, o.Mode)
}

// ErrInvalid is wrapped by every refusal of a `-o` option.
var ErrInvalid = errors.New("bad option")

// Scope is how far a network made on this host reaches.
type Scope string

const (
	// ScopeDefault leaves the choice to the engine's labels.
	ScopeDefault Scope = ""
	// ScopeGlobal is on every host of the cluster.
	ScopeGlobal Scope = "global"
	// ScopeLocal is on this host only.
	ScopeLocal Scope = "local"
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
	MACPrefix  string    `json:"macPrefix,omitempty"`  // of derived MACs, as 02:42; "": 02
	Scope      Scope     `json:"scope,omitempty"`
	NoGateway  bool      `json:"noGateway,omitempty"` // -o gateway=none
	Routes     []Route   `json:"routes,omitempty"`
	// HostRoutes is whether hosts have routes to each other's containers; "": where
	// they are of any use.
	HostRoutes HostRoutes `json:"hostRoutes,omitempty"`
	// Advertised is what containers make of router advertisements; "": what
	// their kernel does.
	Advertised link.Advertised `json:"advertised,omitempty"`
	NoDNS      bool            `json:"noDNS,omitempty"` // -o dns=off
	// HostAccess is whether the host and its own containers reach each other; "": as
	// the host's agent is set.
	HostAccess HostAccess `json:"hostAccess,omitempty"`
	// Unheeded are Docker's own keys that mean nothing on such a network.
	Unheeded []string `json:"unheeded,omitempty"`
	// Old holds the old spellings that were used, for one log line.
	Old []string `json:"-"`
}

// Layer3 reports whether the network routes instead of switching: no gateway,
// no broadcast.
func (o Options) Layer3() bool { return o.Kind == link.Ipvlan && o.Mode != link.L2 }

// oldSpelling gives today's name of one that the oldest guides print, and reports
// whether that is another.
func oldSpelling(name string) (string, bool) {
	bare := strings.TrimLeft(name, "-")
	switch bare {
	case "host_iface", "host_interface":
		return "parent", true
	}
	return bare, bare != name
}

// dockersOwn reports whether a name is a key of Docker's own, which is never
// unknown.
func dockersOwn(name string) bool {
	return strings.HasPrefix(name, keyPrefix) || name == "RequestAddressType"
}

// Parse reads the options of a network. Unknown names are refused
// with the nearest known one; the error wraps ErrInvalid.
func Parse(raw map[string]string) (Options, error) {
	o := Options{}
	modes := modeOptions{}
	said := map[string]string{} // as it was given, by today's name
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
		if before, twice := said[name]; twice && strings.TrimSpace(raw[before]) != strings.TrimSpace(raw[given]) {
			return Options{}, fmt.Errorf("%w: -o %s=%s and -o %s=%s contradict each other: give %s=", ErrInvalid,
				visible.Word(before), visible.Word(raw[before]), visible.Word(given), visible.Word(raw[given]), name)
		}
		said[name] = given
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
	case "routes":
		return o.setRoutes(value)
	case "mac-prefix":
		return o.setMACPrefix(value)
	case "ipv6-ra":
		return choose(&o.Advertised, name, value, link.AdvertisedOn, link.AdvertisedOff)
	case "dns":
		return o.setDNS(value)
	case "host-access":
		return choose(&o.HostAccess, name, value, HostAccessOn, HostAccessOff)
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
		return fmt.Errorf("%w: -o %s=%q is not one of %s", ErrInvalid, name, value, sentence(allowed))
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
		return fmt.Errorf("%w: -o parent=%q: %w", ErrInvalid, value, err)
	}
	if !list.Empty() {
		o.Parent = value
	}
	o.Old = append(o.Old, list.Old...)
	return nil
}

func (o *Options) setParentFile(value string) error {
	if err := parentfile.CheckPath(value); err != nil {
		return fmt.Errorf("%w: -o parent-file=%q: %w", ErrInvalid, value, err)
	}
	o.ParentFile = value
	return nil
}

func (o *Options) setGateway(value string) error {
	if value != "none" {
		return fmt.Errorf("%w: -o gateway=%q: only gateway=none is an option (an address is given with --gateway)", ErrInvalid, value)
	}
	o.NoGateway = true
	return nil
}

// setMACPrefix takes what derived MACs can begin with: one to three bytes of
// those that anybody may use (IEEE 802's locally administered ones).
func (o *Options) setMACPrefix(value string) error {
	bad := func(why string) error {
		return fmt.Errorf("%w: -o mac-prefix=%q: %s", ErrInvalid, value, why)
	}
	var prefix net.HardwareAddr
	for part := range strings.SplitSeq(strings.ReplaceAll(value, "-", ":"), ":") {
		b, err := strconv.ParseUint(part, 16, 8)
		if err != nil || len(part) != 2 {
			return bad("want one to three bytes in hexadecimal, as 02:42")
		}
		prefix = append(prefix, byte(b))
	}
	switch {
	case len(prefix) > maxMACPrefix:
		return bad("want one to three bytes, as 02:42: the others follow from the address")
	case prefix[0]&1 != 0:
		return bad("an odd first byte makes it that of a group (multicast): give one that ends in 2, 6, a or e, as 02:42")
	case prefix[0]&2 == 0:
		return bad("that belongs to a maker of network cards: give one whose first byte ends in 2, 6, a or e, as 02:42")
	}
	o.MACPrefix = prefix.String()
	return nil
}

// maxMACPrefix leaves half of a MAC to tell containers apart.
const maxMACPrefix = 3

// MACPrefixBytes are what derived MACs begin with; none: what they do otherwise.
func (o Options) MACPrefixBytes() (prefix net.HardwareAddr) {
	for part := range strings.SplitSeq(o.MACPrefix, ":") {
		b, err := strconv.ParseUint(part, 16, 8)
		if err != nil {
			return nil
		}
		prefix = append(prefix, byte(b))
	}
	return prefix
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
		return 0, fmt.Errorf("%w: -o %s=%q is not a number of bytes from %d to %d", ErrInvalid, name, value, minMTU, maxMTU)
	}
	return mtu, nil
}

// unknownOption names what was probably meant.
func unknownOption(given, name, value string) error {
	given, value = visible.Word(given), visible.Word(value)
	if name == "" {
		return fmt.Errorf("%w: -o %s=%s has no name: did you mean parent=%s?", ErrInvalid, given, value, value)
	}
	known := names()
	if near := pool.Nearest(name, known); near != "" {
		return fmt.Errorf("%w: -o %s is unknown: did you mean %s?", ErrInvalid, given, near)
	}
	return fmt.Errorf("%w: -o %s is unknown: the options are %s", ErrInvalid, given, sentence(known))
}

// settle finds the kind and mode that the options together ask for, and
// refuses the ones that contradict each other.
func (o *Options) settle(modes modeOptions) error {
	if err := o.settleMTU(modes); err != nil {
		return err
	}
	ipvlan := modes.ipvlan != "" || modes.flag != ""
	if modes.macvlan != "" && ipvlan {
		return fmt.Errorf("%w: macvlan_mode and ipvlan_mode (or ipvlan_flag) exclude each other: a network is either macvlan or ipvlan", ErrInvalid)
	}
	if o.Kind == link.Ipvlan && modes.macvlan != "" {
		return fmt.Errorf("%w: -o macvlan_mode=%s does not fit kind=ipvlan: use ipvlan_mode", ErrInvalid, modes.macvlan)
	}
	if o.Kind == link.Macvlan && ipvlan {
		return fmt.Errorf("%w: ipvlan_mode and ipvlan_flag do not fit kind=macvlan: use macvlan_mode", ErrInvalid)
	}
	if o.Parent != "" && o.ParentFile != "" {
		return fmt.Errorf("%w: -o parent=%q and -o parent-file=%q exclude each other", ErrInvalid, o.Parent, o.ParentFile)
	}
	if o.Kind == "" {
		o.Kind = link.Macvlan
		if ipvlan {
			o.Kind = link.Ipvlan
		}
	}
	if o.Kind == link.Macvlan {
		o.Mode = cmp.Or(modes.macvlan, link.Bridge)
	} else {
		o.Mode, o.Flag = cmp.Or(modes.ipvlan, link.L2), cmp.Or(modes.flag, link.FlagBridge)
	}
	if o.Kind == link.Ipvlan && o.MACPrefix != "" {
		return fmt.Errorf("%w: -o mac-prefix=%s: ipvlan links share their parent's MAC address: leave it out", ErrInvalid, o.MACPrefix)
	}
	if o.Layer3() && o.Advertised == link.AdvertisedOn {
		return fmt.Errorf("%w: -o ipv6-ra=on: no router is heard on an %s network, which has no broadcast: leave it out", ErrInvalid, o.Mode)
	}
	if err := checkHostAccess(*o); err != nil {
		return err
	}
	return o.settleRoutes()
}

// HasGateway is the one gateway rule on every engine: a network that switches
// and has a parent has a gateway; one that routes (L3), is internal, has no
// parent or says -o gateway=none has none.
func (o Options) HasGateway(internal bool) bool {
	return !o.Layer3() && !o.Isolated(internal) && !o.NoGateway
}

// AsksGateway reports whether Docker shall ask for an address where it may leave
// it out: for a network with a gateway, and for a routed one, whose first
// container then has the second address on every engine, as Docker's documents
// show; engines before 28 always ask.
func (o Options) AsksGateway(internal bool) bool {
	return o.HasGateway(internal) || o.Layer3() && !o.Isolated(internal) && !o.NoGateway
}

// Isolated reports whether a network has no way out of its hosts' LAN port: no
// parent is used.
func (o Options) Isolated(internal bool) bool {
	return internal || (o.Parent == "" && o.ParentFile == "")
}

// ParseLabels reads the default scopes that an engine's labels set.
func ParseLabels(labels map[string]string) (map[link.Kind]Scope, error) {
	said := map[link.Kind]Scope{}
	for _, kind := range []link.Kind{link.Macvlan, link.Ipvlan} {
		scope := Scope(labels[string(kind)])
		switch scope {
		case ScopeGlobal, ScopeLocal:
			said[kind] = scope
		case "":
		default:
			return nil, fmt.Errorf("engine label %s=%s: want %s or %s", kind, scope, ScopeGlobal, ScopeLocal)
		}
	}
	return said, nil
}

// Spec is what the options say of a container's link.
func (o Options) Spec() link.Spec {
	return link.Spec{Kind: o.Kind, Mode: o.Mode, Flag: o.Flag, MTU: o.MTU}
}
