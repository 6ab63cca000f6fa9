package leases_test

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/cli/leases"
	"gvlan/ipam/survey"
)

// ago is a time so long ago that its words do not change while a test runs.
func ago(d time.Duration) time.Time { return time.Now().Add(-d - time.Minute/2) }

// web is the lease of a container.
func web() api.LeaseView {
	return api.LeaseView{Host: "h1", Entry: survey.Entry{
		Address: netip.MustParseAddr("192.168.1.130"), Segment: "default", State: survey.Leased, Network: "lan", NetworkID: "u1",
		Container: "web", ContainerID: "3f2a9c1b2d3e4f5a6b7c", Node: "id1", MAC: "02:42:c0:a8:01:82", Parent: "eth0", Endpoint: "e1e2e3e4e5e6e7e8",
		Since: ago(3 * 24 * time.Hour), Key: "/leases/default/4/c0a80182", Created: 40, Modified: 41,
	}}
}

func at(address string, state survey.State, change func(*survey.Entry)) api.LeaseView {
	v := api.LeaseView{Entry: survey.Entry{Address: netip.MustParseAddr(address), Segment: "default", State: state}}
	if change != nil {
		change(&v.Entry)
	}
	return v
}

// date is the time that stands in brackets behind how long ago something was.
var date = regexp.MustCompile(`\(\d{4}-\d\d-\d\d \d\d:\d\d UTC\)`)

// typed compares what a command printed, whose lines fit 80 columns.
func typed(t *testing.T, command *cobra.Command, answers clitest.Answers, args string, want clitest.Typed) {
	t.Helper()
	got := clitest.Type(t, command, clitest.Agent(t, answers), strings.Fields(args)...)
	for line := range strings.Lines(got.Out) {
		if len(line) > 81 && !strings.Contains(args, "wide") && !strings.Contains(args, "json") {
			t.Errorf("%s: a line of %d columns: %s", args, len(line)-1, line)
		}
	}
	got.Out = date.ReplaceAllString(got.Out, "(DATE)")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gvlan %s %s (-want +got):\n%s", command.Name(), args, diff)
	}
}

func TestWhois(t *testing.T) {
	free := at("192.168.1.140", survey.Free, func(a *survey.Entry) { a.Network = "lan" })
	two := []api.Found{
		{Kind: api.FoundAddress, Lease: new(web()), Last: []api.Holder{
			{Container: "old", Host: "h2", From: ago(5 * 24 * time.Hour), To: ago(4 * 24 * time.Hour)}, {Host: "h3", To: ago(5 * 24 * time.Hour)},
		}},
		{Kind: api.FoundHost, Host: &api.FoundOnHost{Node: "id9", Host: "web", Address: "192.168.1.9", State: "ready", Containers: 1}},
	}
	lan := func(v api.LeaseView, heard api.LANAnswer) []api.Found {
		return []api.Found{{Kind: api.FoundAddress, Lease: &v, LAN: &heard}}
	}
	answers := []api.MetAt{{MAC: "00:11:22:33:44:55", Parent: "eth1"}}
	tests := []struct {
		name  string
		found []api.Found
		near  []string
		args  string
		want  clitest.Typed
	}{
		{name: "a container, and a host of that name", found: two, args: "web", want: clitest.Typed{Out: `address     192.168.1.130
state       leased
network     lan
container   web (3f2a9c1b2d3e)
host        h1
mac         02:42:c0:a8:01:82
parent      eth0
since       3 days ago (DATE)
before      old on h2, from 5 days until 4 days ago
            a container on h3, until 5 days ago

host      web
state     ready, 1 container on gvlan's networks
address   192.168.1.9
more      gvlan node inspect web
`}},
		{name: "a foreign one answers", found: lan(free, api.LANAnswer{At: []string{"eth1"}, Answers: answers}), args: "192.168.1.140", want: clitest.Typed{Out: `address   192.168.1.140
state     free
network   lan
lan       nobody of ours, but MAC 00:11:22:33:44:55 answers on the LAN at eth1
`}},
		{name: "nobody answers", found: lan(free, api.LANAnswer{At: []string{"eth1"}}), args: "192.168.1.140", want: clitest.Typed{Out: `address   192.168.1.140
state     free
network   lan
lan       nobody answers on the LAN at eth1
`}},
		{name: "a stopped container wants it", found: []api.Found{{Kind: api.FoundAddress, Lease: &free, Wants: []api.Wanted{{Container: "idle", Host: "h2"}}}}, args: "192.168.1.140", want: clitest.Typed{Out: `address   192.168.1.140
state     free
network   lan
wanted    by stopped container idle on h2, when it starts
`}},
		{name: "learnt of a router", found: []api.Found{{Kind: api.FoundAddress, Lease: new(at("fd77::9", survey.Outside, func(*survey.Entry) {})), LAN: &api.LANAnswer{At: []string{"eth1"}},
			Learnt: []api.Learnt{{Address: netip.MustParseAddr("fd77::9"), Container: "web", Host: "h1"}}}}, args: "fd77::9", want: clitest.Typed{Out: `address   fd77::9
state     in no network of gvlan's
lan       nobody answers on the LAN at eth1
learnt    fd77::9, by container web on h1 (SLAAC): not leased
`}},
		{name: "a host without a parent", found: lan(free, api.LANAnswer{}), args: "192.168.1.140", want: clitest.Typed{Out: `address   192.168.1.140
state     free
network   lan
lan       could not be asked from this host: it has no parent there
`}},
		{name: "a gateway", found: lan(at("192.168.1.1", survey.Gateway, func(a *survey.Entry) { a.Network = "lan" }), api.LANAnswer{At: []string{"eth1"}, Answers: answers}), args: "192.168.1.1",
			want: clitest.Typed{Out: `address   192.168.1.1
state     gateway of the network
network   lan
lan       MAC 00:11:22:33:44:55 answers on the LAN at eth1
`}},
		{name: "a lease of ours that another one answers for",
			found: lan(at("192.168.1.9", survey.Quarantined, func(a *survey.Entry) { a.Network, a.Segment = "lan", "dmz" }),
				api.LANAnswer{At: []string{"eth1"}, Answers: []api.MetAt{{MAC: "00:11:22:33:44:55", Parent: "eth1", Of: "web on h1"}}, Failed: []string{"ask on eth2: it is down"}}),
			args: "192.168.1.9", want: clitest.Typed{Out: `address   192.168.1.9
state     quarantined
network   lan (segment dmz)
lan       MAC 00:11:22:33:44:55 answers on the LAN at eth1: web on h1
lan       could not be asked from this host: ask on eth2: it is down
`}},
		{name: "nobody at all", found: lan(at("192.0.2.1", survey.Outside, nil), api.LANAnswer{}), args: "192.0.2.1", want: clitest.Typed{Status: frame.Failed, Out: `address   192.0.2.1
state     in no network of gvlan's
lan       could not be asked from this host: it has no parent there
`}},
		{name: "a MAC on the LAN", found: []api.Found{{Kind: api.FoundMAC, MAC: "00:11:22:33:44:55", Met: []api.MetAt{{Address: netip.MustParseAddr("192.168.1.7"), Parent: "eth0"}}}}, args: "00:11:22:33:44:55",
			want: clitest.Typed{Out: `mac     00:11:22:33:44:55
state   no container of gvlan's has it
lan     this host met it as 192.168.1.7 at eth0
`}},
		{name: "a stopped container", found: []api.Found{{Kind: api.FoundContainer, Container: "idle", Wants: []api.Wanted{{Address: netip.MustParseAddr("192.168.1.8"), Network: "lan", Host: "h2"}}}}, args: "idle",
			want: clitest.Typed{Out: `container   idle
state       it has no address now
stopped     on h2; when it starts it wants 192.168.1.8 of network lan
`}},
		{name: "a container that is gone", found: []api.Found{{Kind: api.FoundContainer, Container: "old", Last: []api.Holder{{Address: netip.MustParseAddr("192.168.1.9"), Container: "old", Host: "h2", From: ago(3 * time.Hour), To: ago(2 * time.Hour)}}}}, args: "old",
			want: clitest.Typed{Out: `container   old
state       it has no address now
before      old on h2 had 192.168.1.9, from 3 hours until 2 hours ago
`}},
		{name: "a network", found: []api.Found{{Kind: api.FoundNetwork, Network: &api.FoundInStore{Name: "lan", Subnets: []string{"192.168.1.0/24", "fd00::/64"}, Containers: 2}}}, args: "lan",
			want: clitest.Typed{Out: `network   lan
subnets   192.168.1.0/24, fd00::/64
state     2 containers
more      gvlan network inspect lan
`}},
		{name: "what is reserved", found: []api.Found{
			{Kind: api.FoundReserved, Reserved: &api.Reserved{Address: netip.MustParseAddr("192.168.1.50"), Network: "lan", For: "web", MAC: "02:00:00:00:00:01", Note: "rule 12"}},
			{Kind: api.FoundReserved, Reserved: &api.Reserved{Address: netip.MustParseAddr("192.168.1.51"), Network: "lan", For: "web", Container: "db", Host: "h1"}},
			{Kind: api.FoundReserved, Reserved: &api.Reserved{Address: netip.MustParseAddr("192.168.1.52"), Network: "lan", For: "web", Host: "h2"}},
		}, args: "web", want: clitest.Typed{Out: `reserved   192.168.1.50 of network lan
for        web
mac        02:00:00:00:00:01
note       rule 12
now        nobody has it

reserved   192.168.1.51 of network lan
for        web
now        container db on h1 has it

reserved   192.168.1.52 of network lan
for        web
now        a container on h2 has it
`}},
		{name: "a name that nothing has", near: []string{"web"}, args: "wev", want: clitest.Typed{Status: frame.Failed, Err: "gvlan: no address, container, host or network here is called wev; did you mean web?\n"}},
		{name: "a name that nothing has, as JSON", args: "wev --json", want: clitest.Typed{Status: frame.Failed, Out: "{\n  \"found\": []\n}\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			answer := api.WhoisAnswer{Found: append([]api.Found{}, test.found...), Near: test.near}
			typed(t, leases.NewWhois(), clitest.Answers{"GET " + api.WhoisRoute: answer}, test.args, test.want)
		})
	}
	typed(t, leases.NewWhois(), clitest.Answers{}, "", clitest.Typed{Status: frame.Misused, Err: "gvlan: gvlan whois wants ADDRESS|MAC|NAME, and got nothing; see gvlan whois --help\n"})
}

// listing is an agent that lists these, in pages of two.
func listing(all ...api.LeaseView) clitest.Answers {
	return clitest.Answers{"GET " + api.LeasesRoute: func(_ *http.Request, tell func(any) error) error {
		for page := range slices.Chunk(all, 2) {
			if err := tell(page); err != nil {
				return err
			}
		}
		return tell([]api.LeaseView{})
	}}
}

func TestLeaseList(t *testing.T) {
	all := []api.LeaseView{
		at("192.168.1.1", survey.Gateway, func(a *survey.Entry) { a.Network = "lan" }),
		web(),
		at("192.168.1.131", survey.Starting, func(a *survey.Entry) { a.Network, a.Node = "lan", "id2" }),
		at("fd00::ffff:ffff:ffff:ffff", survey.Quarantined, func(a *survey.Entry) { a.Network, a.Since = "lan", ago(2*time.Hour) }),
	}
	answers := listing(all...)
	typed(t, leases.NewLease(), answers, "ls", clitest.Typed{Out: `ADDRESS                     NETWORK   CONTAINER   NODE   STATE         SINCE
192.168.1.1                 lan       -           -      gateway       -
192.168.1.130               lan       web         h1     leased        3 days
192.168.1.131               lan       -           -      starting      -
fd00::ffff:ffff:ffff:ffff   lan       -           -      quarantined   2 hours
`})
	typed(t, leases.NewLease(), answers, "ls -q", clitest.Typed{Out: "192.168.1.1\n192.168.1.130\n192.168.1.131\nfd00::ffff:ffff:ffff:ffff\n"})
	typed(t, leases.NewLease(), answers, "ls --format {{.Address}}:{{.Host}}", clitest.Typed{Out: "192.168.1.1:\n192.168.1.130:h1\n192.168.1.131:\nfd00::ffff:ffff:ffff:ffff:\n"})
	typed(t, leases.NewLease(), listing(web()), "ls --wide", clitest.Typed{
		Out: `ADDRESS         NETWORK   CONTAINER   NODE   STATE    SINCE    MAC                 PARENT   SEGMENT   CONTAINER ID   ENDPOINT       NODE ID
192.168.1.130   lan       web         h1     leased   3 days   02:42:c0:a8:01:82   eth0     default   3f2a9c1b2d3e   e1e2e3e4e5e6   id1
`})
	typed(t, leases.NewLease(), listing(), "ls", clitest.Typed{Err: "no address has a record\n"})
	typed(t, leases.NewLease(), listing(), "ls --json", clitest.Typed{Out: "[]\n"})
	away := web()
	away.AsOf = ago(5 * time.Minute)
	typed(t, leases.NewLease(), listing(away), "ls", clitest.Typed{Out: `ADDRESS         NETWORK   CONTAINER   NODE   STATE    SINCE
192.168.1.130   lan       web         h1     leased   3 days

etcd does not answer this host: this is what containers had 5 minutes ago
`})
}

// TestLeaseFilters: what is asked for goes to the agent.
func TestLeaseFilters(t *testing.T) {
	answers := clitest.Answers{"GET " + api.LeasesRoute: func(r *http.Request) (any, error) {
		return nil, fmt.Errorf("asked for %s of %s", r.URL.Query().Get("network"), r.URL.Query().Get("node"))
	}}
	typed(t, leases.NewLease(), answers, "ls --network my/lan --node h1", clitest.Typed{Status: frame.Failed, Err: "gvlan: asked for my/lan of h1\n"})
}

func TestLeaseShow(t *testing.T) {
	detail := api.LeaseDetail{LeaseView: web(), Record: &store.Lease{State: store.Leased, Kind: store.Static, Node: "id1", Epoch: 7, Nonce: "ab"}, Last: []api.Holder{}}
	gateway := api.LeaseDetail{
		LeaseView: at("192.168.1.1", survey.Gateway, func(a *survey.Entry) {
			a.Network, a.Key, a.Modified, a.Created = "lan", "/leases/default/4/c0a80101", 4, 3
		}),
		Record: &store.Lease{State: store.Reserved, By: []string{"u1", "u2"}},
	}
	typed(t, leases.NewLease(), clitest.Answers{"GET " + api.LeaseRoute: []api.LeaseDetail{detail, gateway}}, "show 192.168.1.130", clitest.Typed{Out: `address     192.168.1.130
state       leased
network     lan
container   web (3f2a9c1b2d3e)
host        h1
mac         02:42:c0:a8:01:82
parent      eth0
since       3 days ago (DATE)
endpoint    e1e2e3e4e5e6
key         /leases/default/4/c0a80182
revision    41 (made at 40)
record      state lease, kind static, node id1, epoch 7, nonce ab

address    192.168.1.1
state      gateway of the network
network    lan
key        /leases/default/4/c0a80101
revision   4 (made at 3)
record     state reserved
kept for   u1, u2
`})
	free := []api.LeaseDetail{{LeaseView: at("192.168.1.9", survey.Free, nil)}}
	typed(t, leases.NewLease(), clitest.Answers{"GET " + api.LeaseRoute: free}, "show 192.168.1.9", clitest.Typed{Status: frame.Failed, Err: "gvlan: address 192.168.1.9 has no lease: gvlan whois 192.168.1.9 tells what there is to know of it\n"})
	typed(t, leases.NewLease(), clitest.Answers{}, "show web", clitest.Typed{Status: frame.Misused, Err: "gvlan: \"web\" is no address: write it like 192.168.1.20 or fd00::20\n"})
}

func TestLeaseRelease(t *testing.T) {
	one := api.LeaseDetail{LeaseView: web()}
	other := one
	other.Segment = "dmz"
	resting := api.LeaseDetail{LeaseView: at("192.168.1.130", survey.Resting, nil)}
	away := one
	away.AsOf = ago(time.Minute)
	released := func(r *http.Request) (any, error) {
		if got := r.URL.Query().Encode(); got != "address=192.168.1.130&force=&revision=41&segment=default" && got != "address=192.168.1.130&revision=41&segment=default" {
			return nil, errors.New("asked with " + got)
		}
		if !r.URL.Query().Has("force") {
			return nil, errors.New("address 192.168.1.130: it is not released: container web on host h1 has it")
		}
		return struct{}{}, nil
	}
	for _, test := range []struct {
		args string
		all  []api.LeaseDetail
		want clitest.Typed
	}{
		{"release 192.168.1.130", []api.LeaseDetail{one}, clitest.Typed{Status: frame.Failed, Err: "gvlan: address 192.168.1.130: it is not released: container web on host h1 has it\n"}},
		{"release 192.168.1.130 --force", []api.LeaseDetail{one}, clitest.Typed{Out: "192.168.1.130\n"}},
		{"release 192.168.1.130", []api.LeaseDetail{one, other}, clitest.Typed{Status: frame.Misused, Err: "gvlan: address 192.168.1.130 has a lease in several segments: give --segment, one of default, dmz\n"}},
		{"release 192.168.1.130", []api.LeaseDetail{resting}, clitest.Typed{Status: frame.Failed, Err: "gvlan: address 192.168.1.130 has no lease, it only rests: it is given when nothing else is free\n"}},
		{"release 192.168.1.130", []api.LeaseDetail{away}, clitest.Typed{Status: frame.Failed, Err: "gvlan: etcd does not answer this host: nothing can be released\n"}},
		{"release 192.168.1.130", nil, clitest.Typed{Status: frame.Failed, Err: "gvlan: address 192.168.1.130 has no lease: gvlan whois 192.168.1.130 tells what there is to know of it\n"}},
		{"release 192.168.1", nil, clitest.Typed{Status: frame.Misused, Err: "gvlan: \"192.168.1\" is no address: write it like 192.168.1.20 or fd00::20\n"}},
	} {
		typed(t, leases.NewLease(), clitest.Answers{"GET " + api.LeaseRoute: test.all, "DELETE " + api.LeaseRoute: released}, test.args, test.want)
	}
}

func TestPoolList(t *testing.T) {
	views := []api.PoolView{
		{
			Pool: survey.Pool{Network: "lan", Segment: "default", Subnet: netip.MustParsePrefix("192.168.1.0/24"), Ranges: []string{"192.168.1.128/25"}, Excluded: []string{"192.168.1.200"},
				Size: 128, Used: 20, Free: 105, Resting: 1, Reserved: 2, Beside: 3},
			ByHost: map[string]int{"h1": 3, "h2": 18, "h3": 3}, FullAt: time.Now().Add(6*24*time.Hour + time.Hour),
		},
		{Pool: survey.Pool{Network: "lan", Segment: "default", Subnet: netip.MustParsePrefix("fd00::/64"), Size: math.Exp2(64), Free: math.Exp2(64) - 3, Used: 1, Reserved: 2}},
		{Pool: survey.Pool{Network: "tiny", Segment: "default", Node: "id1", Subnet: netip.MustParsePrefix("10.0.0.0/30"), Size: 4, Used: 1, Reserved: 3}, Host: "h1"},
	}
	answers := clitest.Answers{"GET " + api.PoolsRoute: views}
	typed(t, leases.NewPool(), answers, "ls", clitest.Typed{Out: `NETWORK   SUBNET           SIZE   USED   FREE   RESTING   RESERVED   FULL IN
lan       192.168.1.0/24   128    20     105    1         2          6 days
lan       fd00::/64        2^64   1      2^64   0         2          -
tiny      10.0.0.0/30      4      1      0      0         3          full
`})
	typed(t, leases.NewPool(), answers, "ls --wide", clitest.Typed{Out: `NETWORK   SUBNET           SIZE   USED   FREE   RESTING   RESERVED   FULL IN   HOSTS               RANGES             BESIDE   EXCLUDED        SEGMENT   ONLY ON
lan       192.168.1.0/24   128    20     105    1         2          6 days    h2 18, h1 3, h3 3   192.168.1.128/25   3        192.168.1.200   default   -
lan       fd00::/64        2^64   1      2^64   0         2          -         -                   -                  0        -               default   -
tiny      10.0.0.0/30      4      1      0      0         3          full      -                   -                  0        -               default   h1
`})
	old := []api.PoolView{views[2]}
	old[0].AsOf = ago(3 * time.Minute)
	typed(t, leases.NewPool(), clitest.Answers{"GET " + api.PoolsRoute: old}, "ls", clitest.Typed{Out: `NETWORK   SUBNET        SIZE   USED   FREE   RESTING   RESERVED   FULL IN
tiny      10.0.0.0/30   4      1      0      0         3          full

etcd does not answer this host: this is what containers had 3 minutes ago
`})
	typed(t, leases.NewPool(), answers, "ls -q", clitest.Typed{Out: "192.168.1.0/24\nfd00::/64\n10.0.0.0/30\n"})
	typed(t, leases.NewPool(), clitest.Answers{"GET " + api.PoolsRoute: []api.PoolView{}}, "ls", clitest.Typed{Err: "there are no networks\n"})
}

// TestReserveNothing: a variable that is not set, in a script, reserves for nobody.
func TestReserveNothing(t *testing.T) {
	for _, flag := range []string{"for", "mac"} {
		got := clitest.Type(t, leases.NewReserve(), clitest.Agent(t, clitest.Answers{}), "lan", "192.168.1.50", "--"+flag, "")
		want := clitest.Typed{Status: frame.Misused, Err: "gvlan: --" + flag + " is empty: give one, or leave --" + flag + " out\n"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("--%s (-want +got):\n%s", flag, diff)
		}
	}
}
