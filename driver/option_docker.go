package driver

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"gvlan/ipam/pool"
)

// Docker's own keys (libnetwork netlabel) that a user may give.
const (
	keyMTU      = "com.docker.network.driver.mtu"             // of a network: what mtu= says
	keyIfPrefix = "com.docker.network.container_iface_prefix" // of a network: "eth" by default
	keyMAC      = "com.docker.network.endpoint.macaddress"    // of an endpoint
	keyIfName   = "com.docker.network.endpoint.ifname"        // of an endpoint
	keyPortMap  = "com.docker.network.portmap"                // of an endpoint: ports to publish
	keyPrefix   = "com.docker.network."
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
			return fmt.Errorf("%w: -o %s=%q begins no interface name: give up to %d letters, digits and ._-", ErrOption, key, value, maxIfName-2)
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
		return fmt.Errorf("%w: -o mtu=%d and -o %s=%d contradict each other: give one", ErrOption, o.MTU, keyMTU, dockers)
	}
	if o.MTU == 0 {
		o.MTU = dockers
	}
	return nil
}

// maxIfName is IFNAMSIZ less its end.
const maxIfName = 15

// isIfName tells what the kernel takes as the name of an interface, but for
// what no terminal should be shown.
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
}

// ParseEndpointOptions reads the options of CreateEndpoint: the driver-opts of
// `docker network connect` and `--network name=...,driver-opt=...` among what
// Docker adds, with the MAC that Docker asks for. What has no effect is no
// reason to refuse a container.
func ParseEndpointOptions(raw map[string]any, mac string) (EndpointOptions, error) {
	var o EndpointOptions
	for key, value := range raw {
		switch {
		case key == keyIfName:
			o.IfName = fmt.Sprint(value)
			if !isIfName(o.IfName) {
				return EndpointOptions{}, fmt.Errorf("%w: driver-opt %s=%q is no name of an interface: give up to %d letters, digits and ._-", ErrOption, key, o.IfName, maxIfName)
			}
		case key == keyMAC && mac != "": // where Docker has one, this is that again
		case key == keyMAC:
			mac, err := givenMAC(value)
			if err != nil {
				return EndpointOptions{}, err
			}
			o.MAC = mac
		case key == keyPortMap:
			if ports, ok := value.([]any); ok && len(ports) > 0 {
				o.Unheeded = append(o.Unheeded, portsUnheeded)
			}
		case !slices.Contains(enginesOwn, key):
			o.Unheeded = append(o.Unheeded, optUnheeded(key))
		}
	}
	slices.Sort(o.Unheeded)
	return o, nil
}

// givenMAC reads a driver-opt with a MAC: `docker network connect` has no flag
// for one, and an engine brings none along when a stopped container is attached
// anew.
func givenMAC(value any) (string, error) {
	text := fmt.Sprint(value)
	mac, err := net.ParseMAC(text)
	if err != nil {
		return "", fmt.Errorf("%w: driver-opt %s=%q is none: give one like 02:11:22:33:44:55", ErrMAC, keyMAC, text)
	}
	return mac.String(), nil
}

const portsUnheeded = "published ports (-p) have no effect: a container there is on the LAN with every port it listens on"

// optUnheeded is about a driver-opt that gvlan does not know.
func optUnheeded(key string) string {
	said := fmt.Sprintf("driver-opt %s has no effect", printable(key))
	switch {
	case slices.Contains(optionNames, key) || key == keyMTU || key == keyIfPrefix:
		return said + ": it is an option of networks, docker network create -o"
	case strings.HasPrefix(key, keyPrefix):
		return said + " on a network of gvlan's"
	case pool.Nearest(key[strings.LastIndexByte(key, '.')+1:], []string{"ifname", "interface_name"}) != "":
		return said + ": did you mean " + keyIfName + "?"
	}
	return said + ": gvlan has no such option for a container"
}
