package doctor

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"gvlan/cmd/internal/doctor/firewall"
	"gvlan/driver/link"
)

// port is one that others reach this host's agent at.
type port struct {
	number   uint16
	protocol byte // IPPROTO_TCP or IPPROTO_UDP
	purpose  string
}

func (p port) String() string { return protocolName(p.protocol) + " " + strconv.Itoa(int(p.number)) }

func protocolName(protocol byte) string {
	if protocol == unix.IPPROTO_UDP {
		return "UDP"
	}
	return "TCP"
}

// openPorts are those that other hosts and, for names, the LAN need.
func (f *facts) openPorts() []port {
	var ports []port
	if solo := f.status.err == nil && f.status.value.Solo; !solo {
		for _, number := range storePorts(f) {
			ports = append(ports, port{number, unix.IPPROTO_TCP, "the store"})
		}
		if f.Config.Gossip.On {
			ports = append(ports, port{f.Config.Gossip.Port, unix.IPPROTO_TCP, "gossip"}, port{f.Config.Gossip.Port, unix.IPPROTO_UDP, "gossip"})
		}
	}
	if f.Config.DNS.On {
		for _, at := range f.Config.DNS.Listen {
			if number := portOf(at); number != 0 && !isLocal(at) {
				ports = append(ports, port{number, unix.IPPROTO_TCP, "names"}, port{number, unix.IPPROTO_UDP, "names"})
			}
		}
	}
	if number := portOf(f.Config.Web.Listen); number != 0 && !f.Config.Web.Loopback() {
		ports = append(ports, port{number, unix.IPPROTO_TCP, "the page"})
	}
	return ports
}

// entry is a way by which others come to this host.
type entry struct {
	by   link.Interface
	from netip.Addr
	to   netip.Addr
}

// manyPeers bounds how many hosts' ways are judged: the rules are seldom about
// one of them.
const manyPeers = 32

// entries are the ways from the other hosts; from anybody on the LAN of the
// default route while they are not known.
func (f *facts) entries() []entry {
	var all []entry
	for _, n := range f.nodes.value {
		peer, err := netip.ParseAddr(n.Address)
		if err != nil || n.Node == f.status.value.Node || len(all) >= manyPeers {
			continue
		}
		if by, own, ok := f.towards(peer); ok {
			all = append(all, entry{by, peer, own})
		}
	}
	if len(all) > 0 {
		return all
	}
	for _, i := range f.interfaces.value {
		for _, a := range i.Addresses {
			if i.DefaultRoute && a.Addr().Is4() {
				return []entry{{i, firewall.Source(a), a.Addr()}}
			}
		}
	}
	return nil
}

// towards is the interface, and the address on it, by which this host and a peer
// meet: on a common subnet, else by the default route.
func (f *facts) towards(peer netip.Addr) (by link.Interface, own netip.Addr, ok bool) {
	for _, i := range f.interfaces.value {
		for _, a := range i.Addresses {
			switch {
			case a.Addr().Is4() != peer.Is4() || a.Addr() == peer || i.Loopback:
			case a.Contains(peer):
				return i, a.Addr(), true
			case i.DefaultRoute && !ok:
				by, own, ok = i, a.Addr(), true
			}
		}
	}
	return by, own, ok
}

// checkFirewall walks the packets of other hosts through this host's own rules.
func checkFirewall(_ context.Context, f *facts) (string, []Finding, error) {
	if err := f.firewall.err; err != nil && (!errors.Is(err, firewall.ErrUnsupported) || len(f.legacy.value) == 0) {
		return "", nil, err
	}
	ports := f.openPorts()
	if len(ports) == 0 {
		return "", nil, notNeeded("solo: no other host asks this one")
	}
	ways := f.entries()
	if len(ways) == 0 {
		return "", nil, notNeeded("this host has no address that others could reach")
	}
	type closed struct {
		by      string
		certain bool
	}
	in := map[closed][]port{}
	from := map[closed][]string{}
	for _, w := range ways {
		for _, p := range ports {
			v := f.firewall.value.Judge(firewall.Packet{Interface: w.by.Name, Index: w.by.Index, From: w.from, To: w.to, Protocol: p.protocol, Port: p.number})
			if !v.Dropped {
				continue
			}
			key := closed{v.By, v.Certain}
			if !slices.Contains(in[key], p) {
				in[key] = append(in[key], p)
			}
			if !slices.Contains(from[key], w.from.String()) {
				from[key] = append(from[key], w.from.String())
			}
		}
	}
	var found []Finding
	for _, key := range slices.SortedFunc(maps.Keys(in), func(a, b closed) int { return strings.Compare(a.by, b.by) }) {
		var names, open []string
		for _, p := range in[key] {
			names = append(names, fmt.Sprintf("%s (%s)", p, p.purpose))
			open = append(open, fmt.Sprintf("%s dport %d", strings.ToLower(protocolName(p.protocol)), p.number))
		}
		x := Finding{
			Severity: Fault,
			What:     fmt.Sprintf("this host's firewall drops %s from %s: %s", strings.Join(names, ", "), list(from[key]), key.by),
			Why:      "other hosts reach the store, the gossip, the names or the page of this one by these ports",
			Cure:     "let them in from the hosts of the cluster, before that rule: " + strings.Join(open, ", ") + " (nft -a list ruleset; ufw allow; firewall-cmd --add-port)",
		}
		if !key.certain {
			x.Severity = Hint
			x.What += "; unless a rule before it, which cannot be told from outside, lets them in"
		}
		found = append(found, x)
	}
	return fmt.Sprintf("%d ports, %d chains", len(ports), len(f.firewall.value.Chains)), found, f.legacy.err
}

// legacyTables are what iptables keeps beside nftables, where the kernel has it.
var legacyTables = []struct {
	names  string // file of the tables that there are
	saves  string // prints one
	family nftables.TableFamily
}{
	{"proc/net/ip_tables_names", "iptables-legacy-save", nftables.TableFamilyIPv4},
	{"proc/net/ip6_tables_names", "ip6tables-legacy-save", nftables.TableFamilyIPv6},
}

// readLegacy reads the filter tables of iptables-legacy. Nothing is asked of a
// kernel that has none: the question would load one.
func (f *facts) readLegacy(ctx context.Context) (chains []firewall.Chain, err error) {
	for _, table := range legacyTables {
		if !slices.Contains(strings.Fields(f.read(table.names)), "filter") {
			continue
		}
		text, err := f.Run(ctx, table.saves, "-t", "filter")
		if err != nil {
			return nil, fmt.Errorf("the rules of iptables-legacy are not read: %w", err)
		}
		chains = append(chains, firewall.Legacy(table.family, string(text))...)
	}
	return chains, nil
}

// listener is a socket that waits for questions.
type listener struct {
	port
	addr  netip.Addr
	inode string
}

// listeners reads /proc/net/{tcp,udp,tcp6,udp6}.
func (f *facts) listeners() []listener {
	var all []listener
	for _, table := range []struct {
		name     string
		protocol byte
		state    string // of one that waits
	}{{"tcp", unix.IPPROTO_TCP, "0A"}, {"tcp6", unix.IPPROTO_TCP, "0A"}, {"udp", unix.IPPROTO_UDP, "07"}, {"udp6", unix.IPPROTO_UDP, "07"}} {
		for line := range strings.Lines(f.read("proc/net/" + table.name)) {
			words := strings.Fields(line)
			if len(words) < 10 || words[3] != table.state {
				continue
			}
			addr, number, ok := hexAddress(words[1])
			if ok {
				all = append(all, listener{port{number, table.protocol, ""}, addr, words[9]})
			}
		}
	}
	return all
}

// hexAddress reads ADDRESS:PORT as /proc/net prints them: words of four bytes,
// each in the order of the machine, which is little-endian on all that Docker
// runs on.
func hexAddress(text string) (netip.Addr, uint16, bool) {
	address, number, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw)%4 != 0 {
		return netip.Addr{}, 0, false
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(raw)
	at, err := strconv.ParseUint(number, 16, 16)
	return addr.Unmap(), uint16(at), ok && err == nil
}

// process is who has a socket.
type process struct {
	pid  string
	name string
}

// owners finds the processes that have these sockets open, by inode.
func (f *facts) owners(inodes []string) map[string]process {
	owners := map[string]process{}
	if len(inodes) == 0 {
		return owners
	}
	entries, err := fs.ReadDir(f.Files, "proc")
	if err != nil {
		return owners
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		folder := path.Join("proc", e.Name(), "fd")
		open, err := fs.ReadDir(f.Files, folder)
		if err != nil {
			continue // it has ended
		}
		for _, file := range open {
			target, err := fs.ReadLink(f.Files, path.Join(folder, file.Name()))
			inode, isSocket := strings.CutPrefix(target, "socket:[")
			inode = strings.TrimSuffix(inode, "]")
			if err == nil && isSocket && slices.Contains(inodes, inode) {
				owners[inode] = process{e.Name(), f.read(path.Join("proc", e.Name(), "comm"))}
			}
		}
	}
	return owners
}

// agentName is what the kernel calls the agent's process.
const agentName = "gvlan"

// checkPorts looks who holds the ports that this agent listens on.
func checkPorts(_ context.Context, f *facts) (string, []Finding, error) {
	wanted := f.openPorts()
	if f.Config.DNS.On {
		for _, at := range f.Config.DNS.Listen {
			if number := portOf(at); number != 0 && isLocal(at) {
				wanted = append(wanted, port{number, unix.IPPROTO_TCP, "names"}, port{number, unix.IPPROTO_UDP, "names"})
			}
		}
	}
	var at []listener
	var inodes []string
	for _, l := range f.listeners() {
		if i := slices.IndexFunc(wanted, func(p port) bool { return p.number == l.number && p.protocol == l.protocol }); i >= 0 && f.clashes(wanted[i], l) {
			l.purpose = wanted[i].purpose
			at, inodes = append(at, l), append(inodes, l.inode)
		}
	}
	owners := f.owners(inodes)
	type holding struct {
		process
		purpose string
	}
	var holders []holding
	held := map[holding][]string{}
	for _, l := range at {
		h := holding{owners[l.inode], l.purpose}
		if h.name == "" || h.name == agentName || slices.Contains(held[h], l.String()) {
			continue
		}
		if held[h] == nil {
			holders = append(holders, h)
		}
		held[h] = append(held[h], l.String())
	}
	var found []Finding
	for _, h := range holders {
		slices.Sort(held[h])
		cure := "stop it there, or give gvlan another port: "
		switch h.purpose {
		case "names":
			cure += "--dns-listen"
		case "gossip":
			cure += "--gossip-port, the same on every host"
		default:
			cure += "gvlan init --listen ADDRESS:PORT, or --etcd-listen"
		}
		found = append(found, Finding{
			Severity: Fault,
			What:     fmt.Sprintf("%s, which gvlan needs for %s, has %s (process %s)", list(held[h]), h.purpose, f.whose(h.process), h.pid),
			Why:      "two cannot listen at one port",
			Cure:     cure,
		})
	}
	return fmt.Sprintf("%d ports", len(wanted)), found, nil
}

// clashes reports whether a socket is in the way of one for that purpose: names
// are answered at certain addresses, the rest at one that other hosts reach.
func (f *facts) clashes(p port, l listener) bool {
	if p.purpose != "names" {
		return !l.addr.IsLoopback()
	}
	if l.addr.IsUnspecified() {
		return true
	}
	return slices.ContainsFunc(f.Config.DNS.Listen, func(at string) bool {
		want, err := netip.ParseAddrPort(at)
		return err != nil || want.Port() == l.number && (want.Addr().IsUnspecified() || want.Addr() == l.addr)
	})
}

// whose is what people call a process: the container it runs in, if it does.
func (f *facts) whose(p process) string {
	groups := f.read(path.Join("proc", p.pid, "cgroup"))
	for _, c := range f.containers.value {
		if c.ID != "" && strings.Contains(groups, c.ID) {
			return "container " + c.Name
		}
	}
	return p.name
}
