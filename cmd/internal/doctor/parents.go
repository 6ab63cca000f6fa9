package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gvlan/driver/link"
	"gvlan/parentfile"
)

// checkParents looks at what the containers of each network hang from.
func checkParents(_ context.Context, f *facts) (string, []Finding, error) {
	networks, err := f.networks()
	if err != nil {
		return "", nil, err
	}
	if f.interfaces.err != nil {
		return "", nil, f.interfaces.err
	}
	var found []Finding
	used := map[string][]network{}
	for _, n := range networks {
		switch {
		case n.isolated():
		case n.parent == "":
			found = append(found, withoutParent(f, n))
		default:
			used[n.parent] = append(used[n.parent], n)
		}
	}
	var saw []string
	for _, name := range slices.Sorted(maps.Keys(used)) {
		saw = append(saw, fmt.Sprintf("%s (%s)", name, namesOf(used[name])))
		found = append(found, judgeParent(f, name, used[name])...)
	}
	if len(networks) == 0 {
		return "", nil, notNeeded("this host has no network of gvlan's")
	}
	return list(saw), found, nil
}

func withoutParent(f *facts, n network) Finding {
	x := Finding{
		Severity: Fault,
		What:     fmt.Sprintf("network %s has no usable parent on this host: %s", n.Name, n.why),
		Why:      "no container of it can start here",
		Cure:     fmt.Sprintf("gvlan network set %s parent=..., naming an interface of this host too; ip -br link lists them", n.Name),
	}
	_, err := f.resolve(n.Name, n.options)
	switch {
	case errors.Is(err, parentfile.ErrWireless):
		x.Why = "a wireless card sends with its own MAC only, so no macvlan container of it can start here"
		x.Cure = "a wired interface (gvlan network set " + n.Name + " parent=...), or a network with -o kind=ipvlan"
	case errors.Is(err, parentfile.ErrEnslaved):
		x.Cure = fmt.Sprintf("name the bond or bridge in its place: gvlan network set %s parent=...", n.Name)
	}
	return x
}

// hang says that networks hang, from what follows.
func hang(networks []network) string {
	if len(networks) == 1 {
		return "network " + networks[0].Name + " hangs"
	}
	return "networks " + namesOf(networks) + " hang"
}

// judgeParent judges one interface that containers hang from.
func judgeParent(f *facts, name string, networks []network) []Finding {
	var found []Finding
	users := hang(networks)
	for _, i := range f.below(name) {
		switch {
		case !i.Up:
			found = append(found, Finding{
				Severity: Fault,
				What:     fmt.Sprintf("interface %s, which %s from, is down", i.Name, users),
				Why:      "its containers reach nobody; gvlan sets no interface up that it did not make",
				Cure:     "ip link set " + i.Name + " up, and in the host's network settings, so that it is after a boot",
			})
		case f.read("sys/class/net/"+i.Name+"/carrier") == "0":
			found = append(found, Finding{
				Severity: Fault,
				What:     fmt.Sprintf("interface %s, which %s from, has no carrier", i.Name, users),
				Why:      "nothing is at the other end: its containers reach only one another",
				Cure:     "look at the cable and the switch's port, or ethtool " + i.Name + "; another parent: gvlan network set NAME parent=...",
			})
		}
		found = append(found, judgeHardware(f, i, networks)...)
	}
	return found
}

// judgeHardware judges what a card does with MACs that are not its own.
func judgeHardware(f *facts, i link.Interface, networks []network) []Finding {
	macs := slices.DeleteFunc(slices.Clone(networks), func(n network) bool { return n.options.Kind != link.Macvlan })
	switch {
	case i.Wireless && len(macs) == 0:
		return []Finding{{
			Severity: Hint,
			What:     fmt.Sprintf("%s, which %s from, is wireless", i.Name, hang(networks)),
			Why:      "ipvlan works there, since it has the card's own MAC; access points that keep a list of who has which address may drop what is another's",
			Cure:     "turn off proxy ARP and client isolation at the access point where containers are not reached",
		}}
	case slices.ContainsFunc(macs, func(n network) bool { return n.options.Mode == link.Passthru }):
		return nil // that makes its parent promiscuous itself
	case len(macs) > 0 && isHardware(f, i.Name) && promiscuous(f, i.Name):
		return []Finding{{
			Severity: Hint,
			What:     fmt.Sprintf("%s, which %s from, is promiscuous", i.Name, hang(macs)),
			Why:      "its driver keeps no list of MACs, or somebody listens: every packet that the switch sends here costs this host CPU",
			Cure:     "ip -d link show " + i.Name + " says for how many; another card, or a network with -o kind=ipvlan, if that is too much",
		}}
	}
	return nil
}

// isHardware reports whether an interface is a device, and not made by software.
func isHardware(f *facts, name string) bool {
	d, err := f.Files.Open("sys/class/net/" + name + "/device")
	if err != nil {
		return false
	}
	d.Close()
	return true
}

// promiscuous reports IFF_PROMISC of netdevice(7), also where the kernel itself
// set it, for a driver that filters by no list. A driver whose list is full takes all
// in without a flag: nobody can tell.
func promiscuous(f *facts, name string) bool {
	const flag = 0x100
	flags, err := strconv.ParseUint(strings.TrimPrefix(f.read("sys/class/net/"+name+"/flags"), "0x"), 16, 32)
	return err == nil && flags&flag != 0
}

// checkMTU compares what containers send with what their LAN takes.
func checkMTU(_ context.Context, f *facts) (string, []Finding, error) {
	parents, err := f.parents()
	if err != nil {
		return "", nil, err
	}
	if len(parents) == 0 {
		return "", nil, notNeeded("no network here has a parent")
	}
	var saw []string
	var found []Finding
	for _, name := range slices.Sorted(maps.Keys(parents)) {
		parent, ok := f.link(name)
		if !ok {
			continue // a VLAN link that its first container makes
		}
		saw = append(saw, fmt.Sprintf("%s %d", name, parent.MTU))
		for _, n := range parents[name] {
			if n.options.MTU > parent.MTU {
				found = append(found, Finding{
					Severity: Fault,
					What:     fmt.Sprintf("network %s has mtu %d, its parent %s %d", n.Name, n.options.MTU, name, parent.MTU),
					Why:      "the kernel refuses such macvlan links, so that no container starts here; larger packets of ipvlan ones are lost",
					Cure:     fmt.Sprintf("ip link set %s mtu %d, if the LAN takes that; else make the network with a smaller mtu", name, n.options.MTU),
				})
			}
			if n.options.MTU == 0 {
				found = append(found, otherMTUs(f, n, parent)...)
			}
		}
	}
	return list(saw), found, nil
}

// otherMTUs are those that the network's parents have on other hosts: containers
// take their parent's.
func otherMTUs(f *facts, n network, parent link.Interface) []Finding {
	if f.views.err != nil || f.nodes.err != nil {
		return nil
	}
	var others []string
	for _, v := range f.views.value {
		for _, h := range v.Hosts {
			if v.Name != n.Name || h.Node == f.status.value.Node || h.Parent == "" {
				continue
			}
			if mtu := mtuOf(f, h.Node, h.Parent); mtu != 0 && mtu != parent.MTU {
				others = append(others, fmt.Sprintf("%d on %s of %s", mtu, h.Parent, h.Host))
			}
		}
	}
	if len(others) == 0 {
		return nil
	}
	slices.Sort(others)
	return []Finding{{
		Severity: Hint,
		What:     fmt.Sprintf("network %s hangs from %s with mtu %d here, and elsewhere: %s", n.Name, parent.Name, parent.MTU, list(others)),
		Why:      "containers have their parent's: larger packets of some are lost at others, and connections hang",
		Cure:     fmt.Sprintf("one MTU for the whole LAN (ip link set %s mtu ...), or networks with -o mtu= of the smallest", parent.Name),
	}}
}

func mtuOf(f *facts, node, name string) int {
	for _, v := range f.nodes.value {
		if v.Node != node {
			continue
		}
		for _, i := range v.Interfaces {
			if i.Name == name {
				return i.MTU
			}
		}
	}
	return 0
}

// machines are what the firmware of virtual machines calls itself, with what
// their hosts do with other MACs than the machine's.
var machines = []struct {
	vendor, product string // parts of DMI's
	called          string
	why, cure       string
}{
	{"VMware", "", "a VMware machine", "its port group drops packets of other MACs than the machine's unless told otherwise",
		"promiscuous mode, MAC address changes and forged transmits of the port group: accept (or MAC learning, from vSphere 6.7 on); or -o kind=ipvlan"},
	{"Microsoft", "Virtual Machine", "a Hyper-V or Azure machine", "its switch drops packets of other MACs than the machine's; Azure's always",
		"Set-VMNetworkAdapter -VMName ... -MacAddressSpoofing On; on Azure only networks within a host work"},
	{"innotek", "VirtualBox", "a VirtualBox machine", "its adapter drops packets for other MACs than the machine's unless told otherwise",
		"VBoxManage modifyvm ... --nicpromisc1 allow-all; or -o kind=ipvlan"},
	{"Amazon EC2", "", "an EC2 machine", noOtherMAC, notInClouds},
	{"Google", "Google Compute Engine", "a Google Compute Engine machine", noOtherMAC, notInClouds},
	{"DigitalOcean", "", "a DigitalOcean machine", noOtherMAC, notInClouds},
	{"Hetzner", "", "a Hetzner cloud machine", noOtherMAC, notInClouds},
	{"OpenStack", "", "an OpenStack machine", "its port lets only its own MAC and addresses through unless told otherwise",
		"openstack port set --disable-port-security, or --allowed-address for the network's subnet"},
	{"", "OpenStack", "an OpenStack machine", "its port lets only its own MAC and addresses through unless told otherwise",
		"openstack port set --disable-port-security, or --allowed-address for the network's subnet"},
}

const (
	noOtherMAC  = "that cloud's network lets only the machine's own MAC and addresses through"
	notInClouds = "no setting of gvlan's: containers are reached from their own host only; use a host of your own, or an overlay"
)

// checkMachine says what the machine below does with the MACs of containers.
// Nobody can ask it, so that is a hint, and only where they would leave it.
func checkMachine(_ context.Context, f *facts) (string, []Finding, error) {
	vendor, product := f.read("sys/class/dmi/id/sys_vendor"), f.read("sys/class/dmi/id/product_name")
	if vendor == "" && product == "" {
		return "", nil, notNeeded("the firmware does not say what machine this is")
	}
	saw := strings.TrimSpace(vendor + " " + product)
	parents, err := f.parents()
	if err != nil {
		return saw, nil, err
	}
	var out []string // cards that containers send by
	for name, networks := range parents {
		if !slices.ContainsFunc(networks, func(n network) bool { return n.options.Kind == link.Macvlan }) {
			continue
		}
		for _, on := range f.below(name) {
			for _, i := range f.interfaces.value {
				if (i.Name == on.Name || i.Master == on.Name) && isHardware(f, i.Name) {
					out = append(out, i.Name)
				}
			}
		}
	}
	slices.Sort(out)
	for _, m := range machines {
		if len(out) > 0 && strings.Contains(vendor, m.vendor) && strings.Contains(product, m.product) {
			return saw, []Finding{{
				Severity: Hint,
				What:     fmt.Sprintf("this is %s, and macvlan containers hang from %s", m.called, list(slices.Compact(out))),
				Why:      m.why,
				Cure:     m.cure,
			}}, nil
		}
	}
	return saw, nil, nil
}

// checkIPv6 finds hosts that stopped listening to their router: a host that
// forwards does, unless told otherwise, and Docker lets hosts forward.
func checkIPv6(_ context.Context, f *facts) (string, []Finding, error) {
	parents, err := f.parents()
	if err != nil {
		return "", nil, err
	}
	var saw []string
	var found []Finding
	for _, name := range slices.Sorted(maps.Keys(parents)) {
		six := slices.DeleteFunc(slices.Clone(parents[name]), func(n network) bool { return !n.has6() })
		if len(six) == 0 {
			continue
		}
		conf := "proc/sys/net/ipv6/conf/" + name + "/"
		forwards, accepts := f.read(conf+"forwarding"), f.read(conf+"accept_ra")
		saw = append(saw, fmt.Sprintf("%s forwarding=%s accept_ra=%s", name, forwards, accepts))
		if forwards == "1" && accepts == "1" && routed6(f, name) {
			found = append(found, Finding{
				Severity: Fault,
				What:     fmt.Sprintf("%s, which %s from, forwards IPv6 and takes no router's word any more", name, hang(six)),
				Why:      "the route that it has from its router runs out, and with it this host's own IPv6 (its containers have theirs from the network's --gateway)",
				Cure:     fmt.Sprintf("sysctl -w net.ipv6.conf.%s.accept_ra=2, and in /etc/sysctl.d", strings.ReplaceAll(name, ".", "/")), // as sysctl(8) writes a dot in a name
			})
		}
	}
	if len(saw) == 0 {
		return "", nil, notNeeded("no network with IPv6 has a parent here")
	}
	return list(saw), found, nil
}

// routed6 reports whether an interface has a default route that a router
// advertised: rtnetlink's flags of /proc/net/ipv6_route.
func routed6(f *facts, name string) bool {
	const advertised, fields = 0x00040000, 10 // RTF_ADDRCONF
	for line := range strings.Lines(f.read("proc/net/ipv6_route")) {
		words := strings.Fields(line)
		if len(words) < fields || words[fields-1] != name || words[1] != "00" {
			continue
		}
		if flags, err := strconv.ParseUint(words[fields-2], 16, 64); err == nil && flags&advertised != 0 {
			return true
		}
	}
	return false
}
