package driver

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gvlan/driver/engine"
	"gvlan/driver/option"
	"gvlan/driver/visible"
)

// Imported is a built-in network that has a definition now.
type Imported struct {
	Name       string              `json:"name"`
	Driver     string              `json:"driver"` // whose it still is on this host
	Containers []ImportedContainer `json:"containers"`
}

// ImportedContainer is a container on it, with the addresses held for it and
// what else it was given there.
type ImportedContainer struct {
	Name       string            `json:"name"`
	IPv4       string            `json:"ipv4,omitempty"`
	IPv6       string            `json:"ipv6,omitempty"`
	LinkLocal  []string          `json:"linkLocal,omitempty"`
	Aliases    []string          `json:"aliases,omitempty"`
	Links      []string          `json:"links,omitempty"`
	DriverOpts map[string]string `json:"driverOpts,omitempty"` // a MAC that was asked for among them
	GwPriority int               `json:"gwPriority,omitempty"`
	Doubt      string            `json:"doubt,omitempty"` // what of it Docker does not tell
}

// importedContainer is what moves a container over.
func importedContainer(c engine.ContainerDetail, a engine.Attachment, driver string) ImportedContainer {
	four, six := attachedAddresses(a)
	moved := ImportedContainer{
		Name: c.Name, IPv4: string(four.AppendTo(nil)), IPv6: string(six.AppendTo(nil)),
		Aliases: nameAliases(c, a), Links: a.Settings.Links, DriverOpts: a.Settings.DriverOpts, GwPriority: a.Settings.GwPriority,
	}
	for _, addr := range a.Settings.LinkLocal {
		moved.LinkLocal = append(moved.LinkLocal, addr.String())
	}
	first := a.Network == c.NetworkMode || a.NetworkID == c.NetworkMode
	switch {
	case driver != "macvlan": // ipvlan's are the parent's
	case len(a.Settings.MAC) > 0:
		moved.DriverOpts = option.WithMAC(moved.DriverOpts, a.Settings.MAC)
	case !first && len(a.MAC) > 0 && !dockersMAC(a.MAC, four):
		moved.Doubt = fmt.Sprintf("Docker does not tell whether %s asked for its MAC on this network: to keep it, add --driver-opt %s=%s", c.Name, option.KeyMAC, a.MAC)
	}
	return moved
}

// dockersMAC tells the MAC that engines before 28 make of an address.
func dockersMAC(mac net.HardwareAddr, addr netip.Addr) bool {
	return addr.Is4() && slices.Equal(mac, append([]byte{0x02, 0x42}, addr.AsSlice()...))
}

// Steps are what is left to the user, in order: Docker cannot change the
// driver of a network in place.
func (i Imported) Steps() []string {
	name := visible.ShellWord(i.Name)
	steps := []string{fmt.Sprintf("# network %s is defined for the cluster; the other hosts have it already. On this host:", visible.Word(i.Name))}
	for _, c := range i.Containers {
		steps = append(steps, fmt.Sprintf("docker network disconnect -f %s %s", name, visible.ShellWord(c.Name)))
	}
	steps = append(steps, "docker network rm "+name, fmt.Sprintf("# gvlan makes its own %s here within a second; then:", visible.Word(i.Name)))
	for _, c := range i.Containers {
		if c.Doubt != "" {
			steps = append(steps, "# "+c.Doubt)
		}
		steps = append(steps, strings.Join(append(append([]string{"docker network connect"}, c.flags()...), name, visible.ShellWord(c.Name)), " "))
	}
	return steps
}

// flags are those of `docker network connect`.
func (c ImportedContainer) flags() []string {
	var flags []string
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				flags = append(flags, flag, visible.ShellWord(v))
			}
		}
	}
	add("--ip", c.IPv4)
	add("--ip6", c.IPv6)
	add("--link-local-ip", c.LinkLocal...)
	add("--alias", c.Aliases...)
	add("--link", c.Links...)
	for _, key := range slices.Sorted(maps.Keys(c.DriverOpts)) {
		add("--driver-opt", key+"="+c.DriverOpts[key])
	}
	if c.GwPriority != 0 {
		add("--gw-priority", strconv.Itoa(c.GwPriority))
	}
	return flags
}
