package option

import (
	"fmt"

	"gvlan/cluster/store"
	"gvlan/driver/link"
)

// HostAccess is whether a host and its own containers of a network reach each other.
type HostAccess string

// What a network may say of it; one that says nothing has what the agent is set to.
const (
	HostAccessOn  HostAccess = "on"
	HostAccessOff HostAccess = "off"
)

// NoHostAccess says why a network's links leave no way to their host; "" where they
// do.
func NoHostAccess(o Options) string {
	switch {
	case o.Kind == link.Macvlan && o.Mode == link.Private:
		return "macvlan_mode=private keeps containers from every link of their host"
	case o.Kind == link.Macvlan && o.Mode == link.VEPA:
		return "macvlan_mode=vepa leaves it to the switch whom containers reach"
	case o.Kind == link.Macvlan && o.Mode == link.Passthru:
		return "macvlan_mode=passthru gives the parent to one link alone"
	case o.Kind == link.Ipvlan && o.Flag == link.FlagPrivate:
		return "ipvlan_flag=private keeps containers from every link of their host"
	case o.Kind == link.Ipvlan && o.Flag == link.FlagVEPA:
		return "ipvlan_flag=vepa leaves it to the switch whom containers reach"
	}
	return ""
}

// checkHostAccess refuses it where links leave no way.
func checkHostAccess(o Options) error {
	if why := NoHostAccess(o); o.HostAccess == HostAccessOn && why != "" {
		return fmt.Errorf("%w: -o host-access=on cannot be: %s; a macvlan network in bridge mode can have it, and an ipvlan one with ipvlan_flag=bridge", ErrInvalid, why)
	}
	return nil
}

func parseHostAccess(value string) (a HostAccess, err error) {
	if err := choose(&a, "host-access", value, HostAccessOn, HostAccessOff); err != nil {
		return "", fmt.Errorf("%w: host-access=%q is not one of on, off", ErrInvalid, value)
	}
	return a, nil
}

func setHostAccess(n *store.Network, value string) error {
	access, err := parseHostAccess(value)
	if err != nil {
		return err
	}
	o, err := Parse(n.Created.Options)
	if err != nil {
		return err
	}
	o.HostAccess = access
	if err := checkHostAccess(o); err != nil {
		return err
	}
	n.Overrides.HostAccess = string(access)
	return nil
}
