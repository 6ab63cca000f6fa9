package docker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/tests/lab"
)

// TestRefusals: bad input gets one plain sentence, and nothing of it stays
// in etcd or in the kernel.
func TestRefusals(t *testing.T) {
	onBoth(t, 1, func(c *cluster) {
		c.scenario("networks", refusedNetworks)
		c.scenario("containers", refusedContainers)
	})
}

// refusal is a docker command line that must fail.
type refusal struct {
	name string
	args []string
	// words are in Docker's one line. Where an engine refuses by itself, they
	// are that engine's.
	words   string
	words28 string // of 28.5 and newer, where they differ
}

func (r refusal) wordsOn(release lab.Release) string {
	if release != lab.Docker20 && r.words28 != "" {
		return r.words28
	}
	return r.words
}

func onEth1(more ...string) []string {
	return append([]string{"--subnet", "10.80.1.0/24", "-o", "parent=eth1"}, more...)
}

func refusedNetworks(c *cluster) {
	h := c.Hosts[0]
	before := c.traces(h)
	for _, r := range []refusal{
		{name: "unknown option", args: onEth1("-o", "parnt=eth0"), words: "-o parnt is unknown: did you mean parent?"},
		{name: "unknown option, nothing near", args: onEth1("-o", "colour=blue"), words: "-o colour is unknown: the options are parent, "},
		{name: "unknown ipam option", args: onEth1("--ipam-opt", "segmnt=x"), words: "--ipam-opt segmnt is not known: did you mean segment?"},
		{name: "bad mode", args: onEth1("-o", "macvlan_mode=brigde"), words: `-o macvlan_mode="brigde" is not one of bridge, private, vepa, passthru`},
		{name: "bad scope", args: onEth1("-o", "scope=galaxy"), words: `-o scope="galaxy" is not one of global, local`},
		{name: "bad mtu", args: onEth1("-o", "mtu=tiny"), words: `-o mtu="tiny" is not a number of bytes`},
		{name: "two kinds", args: onEth1("-o", "macvlan_mode=bridge", "-o", "ipvlan_mode=l2"), words: "a network is either macvlan or ipvlan"},
		{name: "no parent", args: []string{"--subnet", "10.80.1.0/24"}, words: `no parent interface was passed, use for example '-o parent="eth0,eth1,eth3"'`},
		{name: "loopback as parent", args: []string{"--subnet", "10.80.1.0/24", "-o", "parent=lo"}, words: "loopback"},
		{name: "bad vlan", args: []string{"--subnet", "10.80.1.0/24", "-o", "parent=eth1.5000"}, words: "5000"},
		{name: "multicast subnet", args: []string{"--subnet", "224.0.1.0/24", "-o", "parent=eth1"}, words: "--subnet 224.0.1.0/24 overlaps 224.0.0.0/3, which is multicast"},
		{name: "loopback subnet", args: []string{"--subnet", "127.1.0.0/16", "-o", "parent=eth1"}, words: "--subnet 127.1.0.0/16 overlaps 127.0.0.0/8, which is loopback"},
		{name: "range wider than subnet", args: onEth1("--ip-range", "10.80.1.0/16"), words: "--ip-range 10.80.0.0/16 is not inside --subnet 10.80.1.0/24", words28: "invalid network config:"},
		{name: "network address as gateway", args: onEth1("--gateway", "10.80.1.0"), words: "address 10.80.1.0 is the network address of subnet 10.80.1.0/24"},
		{name: "broadcast address as gateway", args: onEth1("--gateway", "10.80.1.255"), words: "address 10.80.1.255 is the broadcast address of subnet 10.80.1.0/24"},
		{name: "gateway as aux", args: onEth1("--gateway", "10.80.1.9", "--aux-address", "nas=10.80.1.9"), words: "address 10.80.1.9 is already reserved for this network"},
		{name: "bad exclude", args: onEth1("--ipam-opt", "exclude=many"), words: `--ipam-opt exclude: "many" is neither an address`},
	} {
		c.refused(h, r.wordsOn(h.Engine.Release), append([]string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "bad"}, r.args...)...)
	}
	c.refused(h, "add --ipam-driver gvlan", "network", "create", "-d", "gvlan", "--subnet", "10.80.1.0/24", "-o", "parent=eth1", "bad")
	if names := c.networks(h); len(names) > 0 {
		c.t.Errorf("networks %v are there after refusals", names)
	}
	c.noTraces(h, before)
}

// refusedContainers: the network stays as it was.
func refusedContainers(c *cluster) {
	h := c.Hosts[0]
	c.network(h, "lan1", onEth1("--gateway", "10.80.1.254", "--aux-address", "nas=10.80.1.9", "--ipam-opt", "exclude=10.80.1.100-10.80.1.109")...)
	c.network(h, "nowhere", "--subnet", "10.80.2.0/24", "-o", "parent=eth7, eth8.10")
	c.run(h, "lan1", "web", "--ip", "10.80.1.50")
	derived := c.inspect(h, "lan1", "web").MacAddress
	nic := strings.TrimSpace(h.MustExec(c.t, "cat", "/sys/class/net/eth1/address"))
	c.audit()
	before := c.traces(h)
	for _, r := range []refusal{
		{args: []string{"--network", "lan1", "--ip", "10.80.1.50"}, words: "address 10.80.1.50 is in use by container web on node h1 (network lan1)"},
		{args: []string{"--network", "lan1", "--ip", "10.80.1.254"}, words: "address 10.80.1.254 is the gateway of network lan1"},
		{args: []string{"--network", "lan1", "--ip", "10.80.1.9"}, words: "address 10.80.1.9 is the auxiliary address nas of network lan1"},
		{args: []string{"--network", "lan1", "--ip", "10.80.1.105"}, words: "address 10.80.1.105 is excluded from network lan1"},
		{args: []string{"--network", "lan1", "--ip", "10.80.1.255"}, words: "address 10.80.1.255 is the broadcast address of subnet 10.80.1.0/24"},
		{args: []string{"--network", "lan1", "--mac-address", "01:00:5e:00:00:01"}, words: `--mac-address "01:00:5e:00:00:01" is not a unicast MAC address: an odd first byte makes it that of a group`},
		{args: []string{"--network", "lan1", "--mac-address", "00:00:00:00:00:00"}, words: `--mac-address "00:00:00:00:00:00" is not a unicast MAC address: all zeros are nobody's`},
		{args: []string{"--network", "lan1", "--mac-address", derived}, words: derived + " is in use by container web on node h1 (network lan1)"},
		{args: []string{"--network", "lan1", "--mac-address", nic}, words: nic + " is that of eth1 itself on node h1"},
		{args: []string{"--network", "nowhere"}, words: "eth7"},
	} {
		c.refused(h, r.wordsOn(h.Engine.Release), slices.Concat([]string{"run", "--rm"}, r.args, []string{"busybox", "true"})...)
	}
	c.noTraces(h, before)
}

// traces lists what a create or a start would leave: keys of etcd, except
// nodes' own descriptions, and links of the host.
func (c *cluster) traces(h *lab.Host) []string {
	c.t.Helper()
	var all []string
	for _, folder := range []string{"/networks/", "/tombstones/", "/removals/", "/leases/", "/defaults/", "/endpoints/", "/refs/"} {
		got := must(c.store.Get(c.t.Context(), prefix+folder, clientv3.WithPrefix(), clientv3.WithKeysOnly()))(c.t)
		for _, kv := range got.Kvs {
			all = append(all, string(kv.Key))
		}
	}
	for _, link := range must(h.Links())(c.t) {
		all = append(all, "link "+link)
	}
	slices.Sort(all)
	return all
}

func (c *cluster) noTraces(h *lab.Host, before []string) {
	c.t.Helper()
	eventually(c.t, "no trace of what was refused", func() error {
		if diff := cmp.Diff(before, c.traces(h)); diff != "" {
			return fmt.Errorf("traces (-before +after):\n%s", diff)
		}
		return nil
	})
}
