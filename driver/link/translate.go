package link

import (
	"strings"

	"github.com/vishvananda/netlink"
)

var macvlanModes = map[netlink.MacvlanMode]Mode{
	netlink.MACVLAN_MODE_BRIDGE:   Bridge,
	netlink.MACVLAN_MODE_PRIVATE:  Private,
	netlink.MACVLAN_MODE_VEPA:     VEPA,
	netlink.MACVLAN_MODE_PASSTHRU: Passthru,
	netlink.MACVLAN_MODE_SOURCE:   "source",
}

var ipvlanModes = map[netlink.IPVlanMode]Mode{
	netlink.IPVLAN_MODE_L2:  L2,
	netlink.IPVLAN_MODE_L3:  L3,
	netlink.IPVLAN_MODE_L3S: L3S,
}

var ipvlanFlags = map[netlink.IPVlanFlag]Flag{
	netlink.IPVLAN_FLAG_BRIDGE:  FlagBridge,
	netlink.IPVLAN_FLAG_PRIVATE: FlagPrivate,
	netlink.IPVLAN_FLAG_VEPA:    FlagVEPA,
}

// keyOf finds the kernel's number for a setting that Spec.Check has accepted.
func keyOf[K, V comparable](m map[K]V, value V) K {
	for key, v := range m {
		if v == value {
			return key
		}
	}
	var zero K
	return zero
}

// request gives the link to ask the kernel for. It is in the unfinished group
// until it has its mark.
func (s Spec) request(parentIndex int) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.Name
	attrs.ParentIndex = parentIndex
	attrs.MTU = s.MTU
	attrs.HardwareAddr = s.MAC
	attrs.Group = unfinished
	switch s.Kind {
	case Macvlan:
		return &netlink.Macvlan{LinkAttrs: attrs, Mode: keyOf(macvlanModes, s.Mode)}
	case Ipvlan:
		return &netlink.IPVlan{LinkAttrs: attrs, Mode: keyOf(ipvlanModes, s.Mode), Flag: keyOf(ipvlanFlags, s.Flag)}
	case VLAN:
		return &netlink.Vlan{LinkAttrs: attrs, VlanId: s.VLAN, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	}
	return &netlink.Dummy{LinkAttrs: attrs}
}

func compareNames(a, b string) int { return strings.Compare(a, b) }
