package option

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"gvlan/driver/visible"
	"gvlan/ipam/pool"
)

// Docker's own keys (libnetwork netlabel) that a user may give.
const (
	keyMTU      = "com.docker.network.driver.mtu"             // of a network: what mtu= says
	keyIfPrefix = "com.docker.network.container_iface_prefix" // of a network: "eth" by default
	KeyMAC      = "com.docker.network.endpoint.macaddress"    // of an endpoint
	KeyIfName   = "com.docker.network.endpoint.ifname"        // of an endpoint
	KeyPortMap  = "com.docker.network.portmap"                // of an endpoint: ports to publish
	keyPrefix   = "com.docker.network."
)

// gvlan's own options of an endpoint.
const (
	// KeyFixed gives an endpoint addresses besides, which it takes over when
	// nobody else has them.
	KeyFixed = "gvlan.ip"
	// KeyFailover is how long such an address is silent on the LAN before it is
	// taken from a host that is not connected.
	KeyFailover = "gvlan.failover"
)

// enginesOwn are keys that Docker itself acts on, whatever the driver.
var enginesOwn = []string{
	"RequestAddressType",
	"com.docker.network.advertise_addr_nmsgs",
	"com.docker.network.advertise_addr_ms",
	"com.docker.network.endpoint.sysctls",
	"com.docker.network.endpoint.exposedports",
	"com.docker.network.endpoint.dnsservers",
	"com.docker.network.endpoint.name",
}

// setDockers takes one of Docker's own keys of a network. What means nothing
// here is kept to be warned of: it came with a file that was written for
// another driver, and is no reason to refuse the network.
func (o *Options) setDockers(modes *modeOptions, key, value string) error {
	switch {
	case key == keyMTU:
		mtu, err := parseMTU(key, value)
		modes.dockersMTU = mtu
		return err
	case key == keyIfPrefix:
		if value == "" || !isIfName(value+"99") {
			return fmt.Errorf("%w: -o %s=%q begins no interface name: give up to %d letters, digits and ._-", ErrInvalid, key, value, maxIfName-2)
		}
		o.IfPrefix = value
	case !slices.Contains(enginesOwn, key):
		o.Unheeded = append(o.Unheeded, key)
	}
	return nil
}

// settleMTU joins the two ways to say it.
func (o *Options) settleMTU(modes modeOptions) error {
	dockers := modes.dockersMTU
	if o.MTU != 0 && dockers != 0 && o.MTU != dockers {
		return fmt.Errorf("%w: -o mtu=%d and -o %s=%d contradict each other: give one", ErrInvalid, o.MTU, keyMTU, dockers)
	}
	if o.MTU == 0 {
		o.MTU = dockers
	}
	return nil
}

// maxIfName is IFNAMSIZ less its end.
const maxIfName = 15

// isIfName reports whether the kernel takes a text as the name of an interface
// and a terminal may be shown it.
func isIfName(name string) bool {
	other := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}
	return name != "" && len(name) <= maxIfName && name != "." && name != ".." && !strings.ContainsFunc(name, other)
}

// EndpointOptions is what a container's attachment was given beside addresses
// and a MAC.
type EndpointOptions struct {
	MAC      string   // that a driver-opt asks for; "": none
	IfName   string   // inside the container; "": Docker's choice
	Unheeded []string // what has no effect, each the start of a sentence's second half
	// Fixed are the addresses that it is to have besides; Failover is 0 where they
	// are taken over under the rules of an eviction only.
	Fixed    []netip.Addr
	Failover time.Duration
}

// ParseEndpoint reads the options of CreateEndpoint: the driver-opts of
// `docker network connect` and `--network name=...,driver-opt=...` among what
// Docker adds, with the MAC that Docker asks for. What has no effect is no
// reason to refuse a container.
func ParseEndpoint(raw map[string]any, mac string) (EndpointOptions, error) {
	var o EndpointOptions
	for key, value := range raw {
		switch {
		case key == KeyIfName:
			o.IfName = fmt.Sprint(value)
			if !isIfName(o.IfName) {
				return EndpointOptions{}, fmt.Errorf("%w: driver-opt %s=%q is no name of an interface: give up to %d letters, digits and ._-", ErrInvalid, key, o.IfName, maxIfName)
			}
		case key == KeyMAC && mac != "": // where Docker has one, this is that again
		case key == KeyMAC:
			mac, err := givenMAC(value)
			if err != nil {
				return EndpointOptions{}, err
			}
			o.MAC = mac
		case key == KeyFixed:
			fixed, err := parseFixed(fmt.Sprint(value))
			if err != nil {
				return EndpointOptions{}, err
			}
			o.Fixed = fixed
		case key == KeyFailover:
			failover, err := parseFailover(fmt.Sprint(value))
			if err != nil {
				return EndpointOptions{}, err
			}
			o.Failover = failover
		case key == KeyPortMap:
			if ports, ok := value.([]any); ok && len(ports) > 0 {
				o.Unheeded = append(o.Unheeded, portsUnheeded)
			}
		case !slices.Contains(enginesOwn, key):
			o.Unheeded = append(o.Unheeded, optUnheeded(key))
		}
	}
	if o.Failover != 0 && len(o.Fixed) == 0 {
		return EndpointOptions{}, fmt.Errorf("%w: driver-opt %s=%s says when an address is taken over, and there is none: give %s=ADDRESS too, or leave it out", ErrInvalid, KeyFailover, o.Failover, KeyFixed)
	}
	slices.Sort(o.Unheeded)
	return o, nil
}

// mostFixed is how many addresses an endpoint may have besides: each is asked
// for by itself.
const mostFixed = 8

// parseFixed reads the addresses of KeyFixed.
func parseFixed(text string) ([]netip.Addr, error) {
	var all []netip.Addr
	for word := range strings.SplitSeq(text, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(word))
		if err != nil || addr.Zone() != "" {
			return nil, fmt.Errorf("%w: driver-opt %s=%q is no list of addresses: give one like 192.168.1.50, or several with commas between them", ErrInvalid, KeyFixed, text)
		}
		if addr = addr.Unmap(); slices.Contains(all, addr) {
			return nil, fmt.Errorf("%w: driver-opt %s=%q gives %s twice: give it once", ErrInvalid, KeyFixed, text, addr)
		}
		all = append(all, addr)
	}
	if len(all) > mostFixed {
		return nil, fmt.Errorf("%w: driver-opt %s=%q gives %d addresses: give up to %d", ErrInvalid, KeyFixed, text, len(all), mostFixed)
	}
	return all, nil
}

// leastFailover is what asking the LAN and finding out that it cannot be reached
// takes.
const leastFailover = 10 * time.Second

// parseFailover reads KeyFailover.
func parseFailover(text string) (time.Duration, error) {
	failover, err := time.ParseDuration(text)
	if err != nil || failover < leastFailover {
		return 0, fmt.Errorf("%w: driver-opt %s=%q is no duration of at least %s: give one like 30s or 2m, or leave it out for the rules of gvlan node evict", ErrInvalid, KeyFailover, text, leastFailover)
	}
	return failover, nil
}

// ErrMAC is wrapped when an endpoint cannot have the MAC address that was asked
// for.
var ErrMAC = errors.New("bad mac address")

// WithMAC adds a MAC to an attachment's driver-opts: no engine takes it of
// `docker network connect` in any other way.
func WithMAC(opts map[string]string, mac net.HardwareAddr) map[string]string {
	opts = maps.Clone(opts)
	if opts == nil {
		opts = map[string]string{}
	}
	opts[KeyMAC] = mac.String()
	return opts
}

// ParseMAC reads a MAC address that a container can have.
func ParseMAC(text string) (net.HardwareAddr, error) {
	hw, why := CheckMAC(text)
	if why == "" {
		return hw, nil
	}
	return nil, fmt.Errorf("%w: --mac-address %q is not a unicast MAC address: %s", ErrMAC, text, why)
}

// CheckMAC reads a unicast MAC address, or says why it is none.
func CheckMAC(text string) (hw net.HardwareAddr, why string) {
	hw, err := net.ParseMAC(text)
	switch {
	case err != nil || len(hw) != 6:
		return nil, "it does not have 6 bytes, as 02:42:ac:11:00:02 has"
	case bytes.Equal(hw, make([]byte, 6)):
		return nil, "all zeros are nobody's, give one that begins with 02"
	case hw[0]&1 != 0:
		return nil, "an odd first byte makes it that of a group (multicast or broadcast), give an even one, as 02"
	}
	return hw, ""
}

// givenMAC reads a driver-opt with a MAC: `docker network connect` has no flag
// for one, and an engine brings none along when a stopped container is attached
// anew.
func givenMAC(value any) (string, error) {
	text := fmt.Sprint(value)
	mac, err := net.ParseMAC(text)
	if err != nil {
		return "", fmt.Errorf("%w: driver-opt %s=%q is none: give one like 02:11:22:33:44:55", ErrMAC, KeyMAC, text)
	}
	return mac.String(), nil
}

const portsUnheeded = "published ports (-p) have no effect: a container there is on the LAN with every port it listens on"

// optUnheeded is about a driver-opt that gvlan does not know.
func optUnheeded(key string) string {
	said := fmt.Sprintf("driver-opt %s has no effect", visible.Word(key))
	switch {
	case slices.Contains(names(), key) || key == keyMTU || key == keyIfPrefix:
		return said + ": it is an option of networks, docker network create -o"
	case strings.HasPrefix(key, keyPrefix):
		return said + " on a network of gvlan's"
	case pool.Nearest(key, []string{KeyFixed, KeyFailover}) != "":
		return said + ": did you mean " + pool.Nearest(key, []string{KeyFixed, KeyFailover}) + "?"
	case pool.Nearest(key[strings.LastIndexByte(key, '.')+1:], []string{"ifname", "interface_name"}) != "":
		return said + ": did you mean " + KeyIfName + "?"
	}
	return said + ": gvlan has no such option for a container"
}

// NamesInterfaces reports whether an engine of that version has a plugin name
// interfaces (moby#52866): 29.8 and later. A version that cannot be read counts
// as later.
func NamesInterfaces(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err != nil || err2 != nil || a > 29 || a == 29 && b >= 8
}

// NetworkUnheeded says that an option of a network has no effect.
func NetworkUnheeded(option string) string {
	return fmt.Sprintf("-o %s has no effect on a network of gvlan's", visible.Word(option))
}

// IfNameUnheeded says that an engine of that version lets no plugin name
// interfaces.
func IfNameUnheeded(engine string) string {
	return fmt.Sprintf("a container's interface name (%s) has no effect: Docker lets plugins name interfaces from 29.8 on, and this engine is %s", KeyIfName, visible.Word(engine))
}
