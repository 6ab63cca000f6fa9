package link

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Kind is a kind of link as the kernel names it (IFLA_INFO_KIND).
type Kind string

// The kinds this package makes.
const (
	Macvlan Kind = "macvlan"
	Ipvlan  Kind = "ipvlan"
	VLAN    Kind = "vlan"
	Dummy   Kind = "dummy"
)

// Mode is the mode of a macvlan or ipvlan link in Docker's spelling. The
// first two letters tell the kinds apart: an ipvlan mode begins with l2 or l3.
type Mode string

// Modes of macvlan (ip-link(8)); Bridge is the default.
const (
	Bridge   Mode = "bridge"   // links of one parent reach one another
	Private  Mode = "private"  // they do not
	VEPA     Mode = "vepa"     // they do through a hairpin switch, IEEE 802.1Qbg
	Passthru Mode = "passthru" // one link that takes the whole parent
)

// Modes of ipvlan (kernel Documentation/networking/ipvlan.rst); L2 is the default.
const (
	L2  Mode = "l2"  // switched on the parent, one MAC
	L3  Mode = "l3"  // routed by the parent's namespace, no broadcast
	L3S Mode = "l3s" // L3 through netfilter of the parent's namespace
)

// Flag is ipvlan's second setting, what links of one parent may say to one
// another. It is the parent's, like the mode: the latest link sets it for all.
type Flag string

// Flags of ipvlan (since Linux 4.15); FlagBridge is the default.
const (
	FlagBridge  Flag = "bridge"
	FlagPrivate Flag = "private"
	FlagVEPA    Flag = "vepa"
)

// Spec says what a link should be. The zero Mode and Flag mean the default.
type Spec struct {
	Name   string           // at most 15 bytes, see EndpointName, VLANName and DummyName
	Kind   Kind             //
	Mode   Mode             // Macvlan and Ipvlan
	Flag   Flag             // Ipvlan
	Parent string           // the link it hangs from; none for a Dummy
	VLAN   int              // VLAN: 802.1Q id, 1-4094
	MAC    net.HardwareAddr // Macvlan and Dummy; nil lets the kernel choose. Never for Ipvlan: it has its parent's
	MTU    int              // bytes; 0 follows the parent
	Owner  string           // id of what the link is for: an endpoint or a network; kept in the owner mark
	Shim   bool             // Macvlan and Ipvlan: no container's but the host's own, see Shim
}

// Link is a link as the kernel shows it. In the embedded Spec every default
// is filled in; Parent is "" when the parent is in another namespace, and
// Owner is "" unless the link carries this driver's mark.
type Link struct {
	Spec
	Index       int            // kernel index in this namespace
	ParentIndex int            // kernel index of the parent, in the parent's namespace; 0 for none
	Up          bool           // administratively up
	Owned       bool           // carries this driver's mark
	Addresses   []netip.Prefix // as configured, sorted
}

// ErrSpec is wrapped by every error of Spec.Check.
var ErrSpec = errors.New("impossible link")

// Check judges the spec alone. The error wraps ErrSpec and says in one
// sentence which value is wrong and what would be right.
func (s Spec) Check() error {
	if why := s.fault(); why != "" {
		return fmt.Errorf("%w %q: %s", ErrSpec, s.Name, why)
	}
	return nil
}

func (s Spec) fault() string {
	switch {
	case s.Name == "" || len(s.Name) > maxName:
		return fmt.Sprintf("its name needs 1-%d characters", maxName)
	case s.MTU < 0:
		return fmt.Sprintf("MTU %d is negative", s.MTU)
	case s.Kind != Dummy && s.Parent == "":
		return fmt.Sprintf("a %s link needs a parent", s.Kind)
	case s.MAC != nil && len(s.MAC) != 6:
		return fmt.Sprintf("MAC %s is not 6 bytes long", s.MAC)
	case len(s.MAC) == 6 && s.MAC[0]&1 != 0:
		return fmt.Sprintf("MAC %s is a multicast address", s.MAC)
	}
	return s.kindFault()
}

func (s Spec) kindFault() string {
	switch s.Kind {
	case Macvlan:
		return s.modeFault(Bridge, Private, VEPA, Passthru)
	case Ipvlan:
		if s.MAC != nil {
			return "an ipvlan link has the MAC of its parent and takes no other"
		}
		if !slices.Contains([]Flag{"", FlagBridge, FlagPrivate, FlagVEPA}, s.Flag) {
			return fmt.Sprintf("ipvlan flag %q is not one of bridge, private, vepa", s.Flag)
		}
		return s.modeFault(L2, L3, L3S)
	case VLAN:
		if s.VLAN < 1 || s.VLAN > 4094 {
			return fmt.Sprintf("VLAN id %d is not in 1-4094", s.VLAN)
		}
		return ""
	case Dummy:
		return ""
	}
	return fmt.Sprintf("kind %q is not one of macvlan, ipvlan, vlan, dummy", s.Kind)
}

func (s Spec) modeFault(modes ...Mode) string {
	if s.Mode == "" || slices.Contains(modes, s.Mode) {
		return ""
	}
	return fmt.Sprintf("%s mode %q is not one of %v", s.Kind, s.Mode, modes)
}

// WithDefaults fills in the mode and flag where the spec leaves them to the
// kind: bridge for macvlan, l2 and flag bridge for ipvlan.
func (s Spec) WithDefaults() Spec {
	switch {
	case s.Kind == Macvlan && s.Mode == "":
		s.Mode = Bridge
	case s.Kind == Ipvlan && s.Mode == "":
		s.Mode = L2
	}
	if s.Kind == Ipvlan && s.Flag == "" {
		s.Flag = FlagBridge
	}
	return s
}

// forContainer reports whether a container gets the link, in contrast to
// links that container links hang from. A shim is made as such a link is.
func (s Spec) forContainer() bool { return s.Kind == Macvlan || s.Kind == Ipvlan }

// markKind is the kind in the owner mark.
func (s Spec) markKind() Kind {
	if s.Shim {
		return shimKind
	}
	return s.Kind
}

const (
	maxName        = 15 // IFNAMSIZ-1
	endpointPrefix = "gv"
	dummyPrefix    = "gvd-"
	vlanPrefix     = "gvv" // VLAN links of masters with long names
)

// EndpointName gives the host-side name of an endpoint's link, "gv" and 13
// hexadecimal digits. The same id always gives the same name.
func EndpointName(endpoint string) string {
	return endpointPrefix + digits(endpoint, maxName-len(endpointPrefix))
}

// DummyName gives the name of the dummy that is the parent of a network
// without one, "gvd-" and 11 hexadecimal digits.
func DummyName(network string) string {
	return dummyPrefix + digits(network, maxName-len(dummyPrefix))
}

// VLANName gives the name of the VLAN link vid on master: master.vid where it
// fits 15 characters, else a hash of the two that ends in .vid.
func VLANName(master string, vid int) string {
	name := master + "." + strconv.Itoa(vid)
	if len(name) <= maxName {
		return name
	}
	suffix := "." + strconv.Itoa(vid)
	return vlanPrefix + digits(master, maxName-len(vlanPrefix)-len(suffix)) + suffix
}

// VLANs gives the specs of the VLAN links for vids on master, outermost tag
// first, each the parent of the next.
func VLANs(master string, vids []int, owner string) []Spec {
	specs := make([]Spec, 0, len(vids))
	for _, vid := range vids {
		spec := Spec{Name: VLANName(master, vid), Kind: VLAN, Parent: master, VLAN: vid, Owner: owner}
		specs = append(specs, spec)
		master = spec.Name
	}
	return specs
}

// digits gives n hexadecimal digits of the hash of id. Docker's ids are
// hexadecimal already; swarm's and tests' are not.
func digits(id string, n int) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])[:n]
}

// String describes the spec for messages, as in `macvlan bridge link gv12 on eth0`.
func (s Spec) String() string {
	text := string(s.Kind)
	if s.Mode != "" {
		text += " " + string(s.Mode)
	}
	if s.Kind == Ipvlan && s.Flag != "" && s.Flag != FlagBridge {
		text += " " + string(s.Flag)
	}
	if s.Kind == VLAN {
		text += fmt.Sprintf(" %d", s.VLAN)
	}
	text += " link " + s.Name
	if s.Parent != "" {
		text += " on " + s.Parent
	}
	return text
}
