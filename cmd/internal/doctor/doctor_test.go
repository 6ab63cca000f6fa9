package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/nftables"
	"github.com/spf13/pflag"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/doctor"
	"gvlan/cmd/internal/doctor/firewall"
	"gvlan/cmd/internal/secretfile"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
)

// world is a healthy host to plant faults in: one of three, with network lan on
// eth0 and a container web on it.
type world struct {
	t       *testing.T
	cfg     config.Config
	kernel  *linktest.Kernel
	engine  *enginetest.Engine
	files   fstest.MapFS
	status  api.Status
	nodes   []api.NodeView
	members []api.MemberView
	views   []api.NetworkView
	store   api.StoreView
	reads   api.StoreReads
	down    bool // the agent
	rules   firewall.Ruleset
	noRules error
	printed map[string]string // by programs, by their command lines
	free    int64
	flush   time.Duration
	silent  []string // sockets nobody answers at
	ask     func(sandbox, name string) ([]netip.Addr, error)
	kinds   []link.Kind
	web     engine.ContainerDetail
}

func seconds(s float64) *time.Duration {
	d := time.Duration(s * float64(time.Second))
	return &d
}

var noon = time.Unix(1_700_000_000, 0)

func healthy(t *testing.T) *world {
	t.Helper()
	loaded, err := config.Load(pflag.NewFlagSet("", pflag.ContinueOnError), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, cfg: loaded.Config, kernel: linktest.New("gvlan"), engine: enginetest.New(), free: 50 << 30, flush: time.Millisecond,
		files: fstest.MapFS{
			"proc/self/ns/net":                         {},
			"proc/sys/user/max_net_namespaces":         {Data: []byte("95555\n")},
			"proc/net/udp":                             {Data: []byte("  sl  local_address rem_address\n" + socketLine("0100007F", 5354, "07", 101))},
			"proc/net/tcp":                             {Data: []byte(socketLine("00000000", 22, "0A", 100))},
			"proc/10/comm":                             {Data: []byte("gvlan\n")},
			"proc/10/fd/7":                             socketLink(101),
			"sys/class/net/eth0/carrier":               {Data: []byte("1\n")},
			"sys/class/net/eth0/flags":                 {Data: []byte("0x1003\n")},
			"sys/class/net/eth0/device/vendor":         {},
			"sys/class/dmi/id/sys_vendor":              {Data: []byte("Dell Inc.\n")},
			"sys/class/dmi/id/product_name":            {Data: []byte("PowerEdge R650\n")},
			"proc/sys/net/ipv6/conf/eth0/forwarding":   {Data: []byte("1\n")},
			"proc/sys/net/ipv6/conf/eth0/accept_ra":    {Data: []byte("2\n")},
			"proc/net/ipv6_route":                      {Data: []byte("00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0\n")},
			"var/lib/gvlan/journal.db":                 {},
			"run/docker/plugins/gvlan.sock":            {},
			"run/gvlan/gvlan.sock":                     {},
			"proc/sys/net/ipv4/conf/eth0/forwarding":   {Data: []byte("1\n")},
			"sys/class/net/eth1/carrier":               {Data: []byte("1\n")},
			"etc/docker/plugins/other-plugin.spec":     {},
			"run/docker/plugins/other-plugin.sock":     {},
			"proc/11/comm":                             {Data: []byte("sshd\n")},
			"proc/11/fd/3":                             socketLink(100),
			"sys/class/net/eth0/device/uevent":         {},
			"var/lib/gvlan/backups/2026-01-01.gvlan":   {},
			"var/lib/gvlan/etcd/member/snap/db":        {},
			"proc/sys/net/ipv6/conf/all/disable_ipv6":  {Data: []byte("0\n")},
			"proc/sys/net/ipv6/conf/eth0/disable_ipv6": {Data: []byte("0\n")},
		},
	}
	w.kernel.Add(link.Interface{Name: "eth0", Up: true, DefaultRoute: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.10/24")}})
	w.kernel.Add(link.Interface{Name: "eth1", Up: true})
	w.engine.AddNetwork(engine.Network{Name: "host", Driver: "host"})
	w.network("lan", map[string]string{"parent": "eth0"}, "192.168.1.0/24", "fd00:1::/64")
	w.routed()
	id, err := w.engine.RunContainer(t.Context(), enginetest.ContainerSpec{Name: "web", Network: "lan"})
	if err != nil {
		t.Fatal(err)
	}
	if w.web, err = w.engine.Container(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.ask = func(_, name string) ([]netip.Addr, error) {
		if name == "web.lan.gvlan.internal" {
			return []netip.Addr{w.web.Attachments[0].IPv4.Addr()}, nil
		}
		return nil, nil
	}
	w.tell()
	return w
}

// tell fills in what a healthy agent says.
func (w *world) tell() {
	w.status = api.Status{
		Node: "n1", Host: "alpha", Version: "1.0", Started: noon.Add(-time.Hour), Etcd: api.EtcdStatus{Endpoints: []string{"https://192.168.1.10:2379"}, Trusted: true},
		Gossip:   &api.GossipStatus{Answering: 3, UDPBlocked: 2, RefusedCluster: 50},
		Networks: []api.NetworkStatus{{Name: "lan", Parent: "eth0"}},
	}
	for i, host := range []string{"alpha", "beta", "gamma"} {
		node, address := fmt.Sprintf("n%d", i+1), fmt.Sprintf("192.168.1.%d", 10+i)
		w.nodes = append(w.nodes, api.NodeView{Node: node, Host: host, Address: address, State: "ready", Interfaces: []store.Interface{{Name: "eth0", MTU: 1500, Up: true}}})
		w.members = append(w.members, api.MemberView{Node: node, Name: host, Etcd: "connected", Gossip: "alive"})
		if i > 0 {
			w.members[i].Direct, w.members[i].RTT, w.members[i].ClockAhead = noon.Add(-2*time.Second), time.Millisecond, seconds(0.1)
		}
		w.store.Members = append(w.store.Members, api.StoreMember{Node: node, Host: host, Address: "https://" + address + ":2379", Role: "voter"})
	}
	hosts := []api.NetworkHost{{Node: "n1", Host: "alpha", State: "committed", Parent: "eth0"}, {Node: "n2", Host: "beta", State: "replica", Parent: "eth0"}}
	w.views = []api.NetworkView{{Name: "lan", Hosts: hosts}}
	w.reads = api.StoreReads{Took: []time.Duration{time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond}}
}

// routed makes a network that routes, whose parent is not the only way to the host.
func (w *world) routed() {
	w.kernel.Add(link.Interface{Name: "eth7", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.10/24")}})
	w.put("sys/class/net/eth7/carrier", "1\n")
	w.put("proc/sys/net/ipv4/conf/eth7/forwarding", "1\n")
	w.put("proc/sys/net/ipv6/conf/all/forwarding", "1\n")
	w.network("deep", map[string]string{"parent": "eth7", "ipvlan_mode": "l3"}, "10.9.0.0/24", "fd09::/64")
}

// network makes one of gvlan's on the host.
func (w *world) network(name string, options map[string]string, subnets ...string) string {
	n := engine.Network{Name: name, Driver: "gvlan", Scope: engine.ScopeLocal, IPv4: true, Options: options}
	for _, s := range subnets {
		n.IPAM.Pools = append(n.IPAM.Pools, engine.Pool{Subnet: netip.MustParsePrefix(s)})
	}
	return w.engine.AddNetwork(n)
}

// Get answers as the agent.
func (w *world) Get(_ context.Context, route string, value any) error {
	if w.down {
		return errors.New("no agent answers at /run/gvlan/gvlan.sock: start it (systemctl start gvlan)")
	}
	answers := map[string]any{
		api.StatusRoute: w.status, api.NodesRoute: w.nodes, api.MembersRoute: w.members, api.NetworksRoute: w.views,
		api.StoreRoute: w.store, api.StoreReadsRoute: w.reads,
	}
	raw, err := json.Marshal(answers[route])
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, value)
}

func (w *world) Free(string) (int64, error)          { return w.free, nil }
func (w *world) Flush(string) (time.Duration, error) { return w.flush, nil }

// limited is a kernel without some kinds of links.
type limited struct {
	*linktest.Kernel
	without []link.Kind
}

func (l limited) Supports(ctx context.Context, kind link.Kind) error {
	if slices.Contains(l.without, kind) {
		return &link.UnsupportedError{Kind: kind}
	}
	return l.Kernel.Supports(ctx, kind)
}

func (w *world) examine() doctor.Report {
	return doctor.Examine(w.t.Context(), doctor.Host{
		Name: "alpha", Version: "1.0", Config: w.cfg, Kernel: limited{w.kernel, w.kinds}, Engine: w.engine, Agent: w, Files: w.files, Disk: w,
		Firewall: func() (firewall.Ruleset, error) { return w.rules, w.noRules },
		Run: func(_ context.Context, program string, args ...string) ([]byte, error) {
			if text, ok := w.printed[strings.Join(append([]string{program}, args...), " ")]; ok {
				return []byte(text), nil
			}
			return nil, fmt.Errorf("%s: %w", program, exec.ErrNotFound)
		},
		Ask: func(_ context.Context, sandbox, name string, _ bool) ([]netip.Addr, error) {
			return w.ask(sandbox, name)
		},
		Secret: func(path string) error {
			about, err := fs.Stat(w.files, strings.TrimPrefix(path, "/"))
			if err == nil && about.Mode().Perm() == 0o644 {
				return fmt.Errorf("%w: chmod 600 %s", secretfile.ErrExposed, path)
			}
			return err
		},
		Answers: func(path string) bool { return !slices.Contains(w.silent, path) },
		Now:     func() time.Time { return noon },
		Sleep:   func(context.Context, time.Duration) {},
	})
}

// socketLine is a line of /proc/net/udp and tcp.
func socketLine(address string, port int, state string, inode int) string {
	return fmt.Sprintf("  1: %s:%04X 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %d 2 0 0\n", address, port, state, inode)
}

func socketLink(inode int) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, "socket:[%d]", inode), Mode: 0o777 | 1<<27} // fs.ModeSymlink
}

func (w *world) put(path, text string) { w.files[path] = &fstest.MapFile{Data: []byte(text)} }

// drops is a firewall that drops everything that comes in.
func drops() firewall.Ruleset {
	return firewall.Ruleset{Chains: []firewall.Chain{{Family: nftables.TableFamilyINet, Table: "filter", Name: "input", Hook: nftables.ChainHookInput, Drops: true}}}
}

// run starts a container, or fails the test.
func (w *world) run(spec enginetest.ContainerSpec) engine.ContainerDetail {
	w.t.Helper()
	id, err := w.engine.RunContainer(w.t.Context(), spec)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := w.engine.Container(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// TestHealthy: nothing is found on a healthy host, and everything was looked at.
func TestHealthy(t *testing.T) {
	r := healthy(t).examine()
	if !r.Healthy || len(r.Findings) > 0 {
		t.Errorf("a healthy host is found to have %+v", r.Findings)
	}
	for _, c := range r.Checks {
		if c.NotChecked != "" && c.Check != "services" {
			t.Errorf("%s was not checked: %s", c.Check, c.NotChecked)
		}
	}
	var names []string
	for _, c := range r.Checks {
		names = append(names, c.Check)
	}
	want := "agent secrets kernel engine plugin parents mtu machine ipv6 routes store disk clock gossip firewall ports names services published leftovers"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("checked is %s, want %s", got, want)
	}
}

// TestFaults plants one fault after the other; each is found, alone.
func TestFaults(t *testing.T) {
	tests := []struct {
		check, name string
		severity    doctor.Severity
		plant       func(*world)
		says        string // part of what is found
	}{
		{"agent", "another version", doctor.Hint, func(w *world) { w.status.Version = "0.9" }, "the agent that runs is gvlan 0.9, this command 1.0"},
		{"secrets", "everybody's", doctor.Fault, func(w *world) {
			w.cfg.Web.PasswordFile, w.cfg.Web.Key, w.cfg.Join.TokenFile = "/etc/gvlan/password", "/etc/gvlan/key.pem", "/gone"
			w.files["etc/gvlan/password"] = &fstest.MapFile{Mode: 0o644}
			w.files["etc/gvlan/key.pem"] = &fstest.MapFile{Mode: 0o640}
		}, "--web-password-file: the file is not root's alone"},
		{"kernel", "no macvlan", doctor.Fault, func(w *world) { w.kinds = []link.Kind{link.Macvlan} }, "no macvlan, which network lan needs"},
		{"kernel", "no ipvlan, and a network needs it", doctor.Fault, func(w *world) {
			w.kinds = []link.Kind{link.Ipvlan}
			w.network("ipl", map[string]string{"parent": "eth1", "kind": "ipvlan"}, "10.9.0.0/24")
		}, "no ipvlan, which network deep, ipl needs"},
		{"kernel", "no VLANs, and a network needs one", doctor.Fault, func(w *world) {
			w.kinds = []link.Kind{link.VLAN}
			w.network("tagged", map[string]string{"parent": "eth1.65"}, "10.9.0.0/24")
		}, "no VLANs, which network tagged needs"},
		{"kernel", "no namespaces", doctor.Fault, func(w *world) { w.put("proc/sys/user/max_net_namespaces", "0\n") }, "no network namespaces"},
		{"engine", "too old", doctor.Fault, func(w *world) { w.engine.SetInfo(func(i *engine.Info) { i.Version = "19.03.15" }) }, "Docker 19.03.15 is older"},
		{"engine", "live-restore on Docker 29", doctor.Hint, func(w *world) {
			w.engine.SetInfo(func(i *engine.Info) { i.Version, i.LiveRestore = "29.1.0", true })
		}, "live-restore is on"},
		{"plugin", "a managed plugin of the same name", doctor.Fault, func(w *world) { w.engine.SetManagedPlugins("gvlan:latest") }, "a managed plugin is called gvlan:latest"},
		{"plugin", "the socket is gone", doctor.Fault, func(w *world) { w.silent = []string{"/run/docker/plugins/gvlan.sock"} }, "Docker does not find it"},
		{"plugin", "a file of an earlier plugin", doctor.Hint, func(w *world) { w.put("etc/docker/plugins/gvlan.spec", "tcp://10.0.0.1:9000") }, "/etc/docker/plugins/gvlan.spec"},
		{"plugin", "a plugin that is not enabled", doctor.Fault, func(w *world) {
			w.engine.SetManagedPlugins("gvlan-swarm:latest")
			w.engine.AddNetwork(engine.Network{Name: "swarmed", Driver: "gvlan-swarm:latest", Scope: engine.ScopeSwarm})
		}, "gvlan-swarm:latest is not enabled on this node, and network swarmed"},
		{"parents", "none", doctor.Fault, func(w *world) { w.network("lost", map[string]string{"parent": "eth9"}, "10.9.0.0/24") }, "network lost has no usable parent on this host"},
		{"parents", "a wireless card", doctor.Fault, func(w *world) {
			w.kernel.Add(link.Interface{Name: "wlan0", Up: true, Wireless: true})
			w.network("air", map[string]string{"parent": "wlan0"}, "10.9.0.0/24")
		}, "network air has no usable parent"},
		{"parents", "ipvlan on a wireless card", doctor.Hint, func(w *world) {
			w.kernel.Add(link.Interface{Name: "wlan0", Up: true, Wireless: true})
			w.network("air", map[string]string{"parent": "wlan0", "kind": "ipvlan"}, "10.9.0.0/24")
		}, "wlan0, which network air hangs from, is wireless"},
		{"parents", "a port of a bridge", doctor.Fault, func(w *world) {
			w.kernel.Add(link.Interface{Name: "br0", Kind: "bridge", Up: true})
			w.kernel.Add(link.Interface{Name: "eth2", Up: true, Master: "br0"})
			w.network("port", map[string]string{"parent": "eth2"}, "10.9.0.0/24")
		}, "network port has no usable parent"},
		{"parents", "down", doctor.Fault, func(w *world) { w.kernel.SetUp("eth0", false) }, "eth0, which network lan hangs from, is down"},
		{"parents", "down, of two networks", doctor.Fault, func(w *world) {
			w.kernel.SetUp("eth0", false)
			w.network("air", map[string]string{"parent": "eth0"}, "10.9.0.0/24")
		}, "eth0, which networks air, lan hang from, is down"},
		{"parents", "no carrier", doctor.Fault, func(w *world) { w.put("sys/class/net/eth0/carrier", "0\n") }, "eth0, which network lan hangs from, has no carrier"},
		{"parents", "no list of MACs", doctor.Hint, func(w *world) { w.put("sys/class/net/eth0/flags", "0x1103\n") }, "eth0, which network lan hangs from, is promiscuous"},
		{"mtu", "more than the parent's", doctor.Fault, func(w *world) {
			w.network("jumbo", map[string]string{"parent": "eth1", "mtu": "9000"}, "10.9.0.0/24")
		}, "network jumbo has mtu 9000, its parent eth1 1500"},
		{"mtu", "another on another host", doctor.Hint, func(w *world) { w.nodes[1].Interfaces[0].MTU = 9000 }, "elsewhere: 9000 on eth0 of beta"},
		{"machine", "VMware", doctor.Hint, func(w *world) { w.put("sys/class/dmi/id/sys_vendor", "VMware, Inc.\n") }, "this is a VMware machine"},
		{"machine", "a cloud", doctor.Hint, func(w *world) { w.put("sys/class/dmi/id/sys_vendor", "Amazon EC2\n") }, "this is an EC2 machine"},
		{"machine", "VMware, below a bond", doctor.Hint, func(w *world) {
			w.put("sys/class/dmi/id/sys_vendor", "VMware, Inc.\n")
			w.put("sys/class/net/eth2/device/vendor", "")
			delete(w.files, "sys/class/net/eth0/device/vendor")
			delete(w.files, "sys/class/net/eth0/device/uevent")
			w.kernel.Add(link.Interface{Name: "bond0", Kind: "bond", Up: true})
			w.kernel.Add(link.Interface{Name: "eth2", Up: true, Master: "bond0"})
			w.network("bonded", map[string]string{"parent": "bond0"}, "10.9.0.0/24")
		}, "macvlan containers hang from eth2"},
		{"ipv6", "the router is not listened to", doctor.Fault, func(w *world) { w.put("proc/sys/net/ipv6/conf/eth0/accept_ra", "1\n") }, "takes no router's word"},
		{"routes", "IPv4 is not forwarded", doctor.Hint, func(w *world) {
			w.put("proc/sys/net/ipv4/conf/eth7/forwarding", "0\n")
		}, "this host does not forward IPv4, and the containers of deep are reached by eth7 alone"},
		{"routes", "IPv6 is not forwarded", doctor.Hint, func(w *world) {
			w.put("proc/sys/net/ipv6/conf/all/forwarding", "0\n")
		}, "does not forward IPv6"},
		{"routes", "strict, with routers", doctor.Hint, func(w *world) {
			w.cfg.BGP.AS = 64512
			w.put("proc/sys/net/ipv4/conf/all/rp_filter", "1\n")
		}, "eth7, which network deep hangs from, drops what its answers would not leave by"},
		{"store", "away", doctor.Fault, func(w *world) { w.status.Etcd.Trusted, w.status.Etcd.Why = false, "etcd does not answer" }, "no new address is given: etcd does not answer"},
		{"store", "a member is gone", doctor.Fault, func(w *world) { w.store.Members[2].Why = "does not answer" }, "the store's member on gamma does not answer"},
		{"store", "full", doctor.Fault, func(w *world) { w.store.Members[0].Alarms = []string{"NOSPACE"} }, "alpha raises NOSPACE"},
		{"store", "slow", doctor.Hint, func(w *world) { w.reads.Took = []time.Duration{time.Second, 2 * time.Second, time.Second} }, "the store answers a read in 1s"},
		{"disk", "full", doctor.Fault, func(w *world) { w.free = 100 << 20 }, "100 MiB are left for /var/lib/gvlan"},
		{"disk", "slow", doctor.Hint, func(w *world) { w.flush = 400 * time.Millisecond }, "takes 400ms"},
		{"clock", "this host's", doctor.Fault, func(w *world) { w.members[1].ClockAhead, w.members[2].ClockAhead = seconds(90), seconds(91) }, "this host's clock is 1m30s behind of most others'"},
		{"clock", "another host's", doctor.Hint, func(w *world) { w.members[1].ClockAhead = seconds(-5) }, "the clock of beta is 5s behind of this host's"},
		{"gossip", "nobody hears a host", doctor.Fault, func(w *world) { w.members[2].Gossip = "failed" }, "gamma: connected to the store, but no peer gets an answer"},
		{"gossip", "one way only", doctor.Fault, func(w *world) { w.members[1].Direct = noon.Add(-time.Hour) }, "beta: gives this host itself no answer over UDP any more"},
		{"gossip", "UDP is blocked", doctor.Hint, func(w *world) { w.status.Gossip.UDPBlocked = 500 }, "500 probes of peers were answered over TCP only"},
		{"firewall", "a policy", doctor.Fault, func(w *world) { w.rules = drops() }, "this host's firewall drops TCP 2379 (the store), TCP 2380 (the store), TCP 2381 (the store), TCP 7947 (gossip), UDP 7947 (gossip) from 192.168.1.11, 192.168.1.12"},
		{"firewall", "a policy of iptables-legacy", doctor.Fault, func(w *world) {
			w.put("proc/net/ip_tables_names", "nat\nfilter\n")
			w.printed = map[string]string{"iptables-legacy-save -t filter": "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"}
		}, "the policy of chain INPUT in table ip filter (iptables-legacy)"},
		{"ports", "another program has the gossip's port", doctor.Fault, func(w *world) {
			w.put("proc/net/tcp", socketLine("00000000", 7947, "0A", 105))
			w.put("proc/12/comm", "serf\n")
			w.files["proc/12/fd/4"] = socketLink(105)
		}, "TCP 7947, which gvlan needs for gossip, has serf (process 12)"},
		{"names", "no answer in a container", doctor.Fault, func(w *world) {
			w.ask = func(string, string) ([]netip.Addr, error) { return nil, errors.New("i/o timeout") }
		}, "nobody answers for web.lan.gvlan.internal: i/o timeout"},
		{"names", "another answer", doctor.Fault, func(w *world) {
			w.ask = func(string, string) ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("10.0.0.9")}, nil }
		}, "the answer for web.lan.gvlan.internal is [10.0.0.9]"},
		{"names", "a name server on the host's network", doctor.Hint, func(w *world) {
			c := w.run(enginetest.ContainerSpec{Name: "pihole", Network: "host"})
			w.put("proc/net/udp", socketLine("00000000", 53, "07", 106))
			w.put("proc/13/comm", "dnsmasq\n")
			w.put("proc/13/cgroup", "0::/system.slice/docker-"+c.ID+".scope\n")
			w.files["proc/13/fd/4"] = socketLink(106)
		}, "container pihole (--network host) answers names at port 53"},
		{"services", "a virtual address", doctor.Fault, func(w *world) {
			w.engine.SetManagedPlugins("gvlan-swarm:latest")
			w.engine.SetSwarm([]engine.Service{
				{Name: "shop", Mode: engine.ModeVIP, Networks: []engine.ServiceNetwork{{Network: "swarmed"}}, VIPs: []engine.VIP{{NetworkID: "n0"}}},
				{Name: "good", Mode: engine.ModeVIP, Networks: []engine.ServiceNetwork{{Network: "swarmed"}}}, // an engine tells of dnsrr so
				{Name: "else", Mode: engine.ModeVIP, VIPs: []engine.VIP{{NetworkID: "n1"}}},
			}, nil)
			w.engine.SetInfo(func(i *engine.Info) { i.NetworkPlugins = []string{"gvlan-swarm:latest"} })
			w.engine.AddNetwork(engine.Network{ID: "n0", Name: "swarmed", Driver: "gvlan-swarm:latest", Scope: engine.ScopeSwarm})
		}, "service shop has a virtual address on network swarmed"},
		{"published", "a port", doctor.Hint, func(w *world) {
			w.run(enginetest.ContainerSpec{Name: "shop", Network: "lan", Published: []engine.Port{{Number: 80, Protocol: "tcp"}}})
			w.ask = func(_, name string) ([]netip.Addr, error) { return w.addressOf(name), nil }
		}, "container shop publishes 80/tcp"},
		{"leftovers", "a link of a container that is gone", doctor.Fault, func(w *world) {
			if _, err := w.kernel.Ensure(w.t.Context(), link.Spec{Name: "gv-left", Kind: link.Macvlan, Parent: "eth0", Owner: "endpoint"}); err != nil {
				w.t.Fatal(err)
			}
		}, "link gv-left was made by gvlan and nothing uses it"},
		{"leftovers", "a dummy of a network that is gone", doctor.Fault, func(w *world) {
			if _, err := w.kernel.Ensure(w.t.Context(), link.Spec{Name: "gv-dummy", Kind: link.Dummy, Owner: "network"}); err != nil {
				w.t.Fatal(err)
			}
		}, "link gv-dummy was made by gvlan and nothing uses it"},
		{"leftovers", "an old folder", doctor.Hint, func(w *world) { w.put("var/lib/gvlan/etcd.old/member/snap/db", "") }, "/var/lib/gvlan/etcd.old was set aside"},
		{"leftovers", "a damaged journal", doctor.Hint, func(w *world) { w.put("var/lib/gvlan/journal.db.damaged-20260101T000000.000Z", "") }, "journal.db.damaged-20260101T000000.000Z was set aside"},
		{"leftovers", "a socket of an earlier plugin", doctor.Hint, func(w *world) {
			w.put("run/docker/plugins/gvlan2.sock", "")
			w.silent = []string{"/run/docker/plugins/gvlan2.sock"}
		}, "nobody answers at the socket /run/docker/plugins/gvlan2.sock"},
	}
	for _, tt := range tests {
		t.Run(tt.check+": "+tt.name, func(t *testing.T) {
			w := healthy(t)
			tt.plant(w)
			r := w.examine()
			if len(r.Findings) != 1 {
				t.Fatalf("%d findings, want one: %+v", len(r.Findings), r.Findings)
			}
			x := r.Findings[0]
			if x.Check != tt.check || x.Severity != tt.severity || !strings.Contains(x.What, tt.says) {
				t.Errorf("found %+v, want a %s of %s with %q in it", x, tt.severity, tt.check, tt.says)
			}
			if x.Why == "" || x.Cure == "" {
				t.Errorf("the finding does not say why it matters, or what to do: %+v", x)
			}
			if r.Healthy != (tt.severity != doctor.Fault) {
				t.Errorf("healthy is %t after a %s", r.Healthy, tt.severity)
			}
		})
	}
}

// TestPassthruIsPromiscuous: that is how it works, and no finding.
func TestPassthruIsPromiscuous(t *testing.T) {
	w := healthy(t)
	w.put("sys/class/net/eth1/device/vendor", "")
	w.put("sys/class/net/eth1/flags", "0x1103\n")
	w.network("through", map[string]string{"parent": "eth1", "macvlan_mode": "passthru"}, "10.9.0.0/24")
	if r := w.examine(); len(r.Findings) > 0 {
		t.Errorf("found %+v, want nothing", r.Findings)
	}
}

// TestIPv6OfAVLAN: sysctl(8) takes the dot in the name for one between two names.
func TestIPv6OfAVLAN(t *testing.T) {
	w := healthy(t)
	w.kernel.Add(link.Interface{Name: "eth1.65", Kind: "vlan", Parent: "eth1", Up: true})
	w.network("tagged", map[string]string{"parent": "eth1.65"}, "10.9.0.0/24", "fd00:9::/64")
	w.put("proc/sys/net/ipv6/conf/eth1.65/forwarding", "1\n")
	w.put("proc/sys/net/ipv6/conf/eth1.65/accept_ra", "1\n")
	w.put("proc/net/ipv6_route", strings.ReplaceAll(string(w.files["proc/net/ipv6_route"].Data), "eth0", "eth1.65"))
	r := w.examine()
	if len(r.Findings) != 1 || !strings.HasPrefix(r.Findings[0].Cure, "sysctl -w net.ipv6.conf.eth1/65.accept_ra=2,") {
		t.Errorf("found %+v, want a cure for eth1/65", r.Findings)
	}
}

// TestCountsOfMonths: what an agent counts is since it began.
func TestCountsOfMonths(t *testing.T) {
	w := healthy(t)
	w.status.Started = noon.AddDate(0, -3, 0)
	w.status.Gossip.UDPBlocked, w.status.Gossip.RefusedKey = 500, 500
	if r := w.examine(); len(r.Findings) > 0 {
		t.Errorf("found %+v, want nothing", r.Findings)
	}
}

// TestLegacyUnread: where rules of iptables-legacy cannot be read that is said; where
// nftables cannot be, they are judged all the same.
func TestLegacyUnread(t *testing.T) {
	w := healthy(t)
	w.put("proc/net/ip_tables_names", "filter\n")
	firewallIn := func(r doctor.Report) doctor.Looked {
		return r.Checks[slices.IndexFunc(r.Checks, func(c doctor.Looked) bool { return c.Check == "firewall" })]
	}
	if got := firewallIn(w.examine()); got.Saw == "" || !strings.Contains(got.NotChecked, "iptables-legacy") {
		t.Errorf("looked at %+v, want that the rules of iptables-legacy are not read", got)
	}
	w.noRules = fmt.Errorf("read the firewall's rules: %w", firewall.ErrUnsupported)
	w.printed = map[string]string{"iptables-legacy-save -t filter": "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 2380 -j DROP\nCOMMIT\n"}
	r := w.examine()
	if got := firewallIn(r); got.NotChecked != "" || !slices.ContainsFunc(r.Findings, func(x doctor.Finding) bool { return strings.Contains(x.What, "drops TCP 2380 (the store)") }) {
		t.Errorf("looked at %+v, found %+v; want that TCP 2380 is dropped", got, r.Findings)
	}
}

// addressOf is what the zone says of NAME.lan.gvlan.internal.
func (w *world) addressOf(name string) []netip.Addr {
	c, err := w.engine.Container(w.t.Context(), strings.TrimSuffix(name, ".lan.gvlan.internal"))
	if err != nil {
		return nil
	}
	return []netip.Addr{c.Attachments[0].IPv4.Addr()}
}

// TestAgentDown: the command works without the agent, finds that it is down and
// what can be found without it, and says what it did not look at.
func TestAgentDown(t *testing.T) {
	w := healthy(t)
	w.down = true
	w.silent = []string{"/run/docker/plugins/gvlan.sock", "/run/gvlan/gvlan.sock"}
	w.kernel.SetUp("eth0", false)
	r := w.examine()
	var checks []string
	for _, x := range r.Findings {
		checks = append(checks, x.Check)
	}
	for _, want := range []string{"agent", "plugin", "parents"} {
		if !slices.Contains(checks, want) {
			t.Errorf("%s found nothing; findings are %+v", want, r.Findings)
		}
	}
	for _, c := range r.Checks {
		if needs := slices.Contains([]string{"store", "clock", "gossip", "names"}, c.Check); needs && c.NotChecked == "" {
			t.Errorf("%s is said to be checked without the agent", c.Check)
		}
	}
}

// TestEngineDown: so does it without the engine.
func TestEngineDown(t *testing.T) {
	w := healthy(t)
	w.engine.Down()
	r := w.examine()
	if len(r.Findings) != 1 || r.Findings[0].Check != "engine" {
		t.Errorf("found %+v, want that the engine is down", r.Findings)
	}
}

// TestNoNftables: names in containers need it, and nothing else does.
func TestNoNftables(t *testing.T) {
	w := healthy(t)
	w.noRules = fmt.Errorf("read the firewall's rules: %w", firewall.ErrUnsupported)
	if r := w.examine(); len(r.Findings) != 1 || r.Findings[0].What != "this kernel has no nftables" {
		t.Errorf("found %+v, want that there is no nftables", r.Findings)
	}
	if cure := w.examine().Findings[0].Cure; !strings.HasPrefix(cure, "modprobe -a nf_tables nft_ct,") {
		t.Errorf("the cure is %q; without -a the second is taken for an option of the first", cure)
	}
	w.cfg.DNS.On = false
	if r := w.examine(); len(r.Findings) != 0 {
		t.Errorf("found %+v with --dns off, want nothing", r.Findings)
	}
}
