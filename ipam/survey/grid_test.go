package survey_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
	"gvlan/ipam/survey"
)

// gridOf is the picture of a part of the first network that has it, of what the
// store has.
func gridOf(t *testing.T, k kept, s *survey.Survey, at string, awaited map[netip.Addr]survey.Entry) survey.Grid {
	t.Helper()
	part := netip.MustParsePrefix(at)
	sub := s.Networks.Holding(part.Addr())[0]
	g, err := s.Grid(t.Context(), k, sub, part, awaited)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestEveryAddressOfAGrid: each is shown once, in order, as what it is.
func TestEveryAddressOfAGrid(t *testing.T) {
	k, s := cluster(t)
	s.Hosts[addr("10.0.0.60")] = "h1"
	s.Reservations = []reserve.Reservation{{At: pool.At(segment, addr("10.0.0.33")), Reservation: store.Reservation{Network: "u1", Name: "lan", For: "web"}}}
	k.lease(segment, "10.0.0.34", store.Lease{State: store.Conflicted, Node: "id2", MAC: "02:00:00:00:00:01"})
	awaited := map[netip.Addr]survey.Entry{
		addr("10.0.0.35"): {Address: addr("10.0.0.35"), Segment: segment, State: survey.Awaited, Container: "db"},
		addr("10.0.0.1"):  {Address: addr("10.0.0.1"), Segment: segment, State: survey.Awaited},  // it is the gateway's
		addr("10.0.0.60"): {Address: addr("10.0.0.60"), Segment: segment, State: survey.Awaited}, // it is a host's own by now
		addr("10.9.0.1"):  {Address: addr("10.9.0.1"), Segment: segment, State: survey.Awaited},  // of another subnet
	}
	g := gridOf(t, k, s, "10.0.0.0/24", awaited)
	want := addr("10.0.0.0")
	states := map[string]survey.State{}
	for _, a := range g.Addresses {
		if a.Address != want {
			t.Fatalf("%s comes where %s should", a.Address, want)
		}
		want = want.Next()
		states[a.Address.String()] = a.State
	}
	if len(g.Addresses) != 256 || len(g.Blocks) != 0 {
		t.Errorf("it has %d addresses and %d blocks", len(g.Addresses), len(g.Blocks))
	}
	for at, state := range map[string]survey.State{
		"10.0.0.0": survey.Unusable, "10.0.0.1": survey.Gateway, "10.0.0.2": survey.Auxiliary, "10.0.0.33": survey.Reserved, "10.0.0.34": survey.Foreign,
		"10.0.0.35": survey.Awaited, "10.0.0.40": survey.Excluded, "10.0.0.47": survey.Excluded, "10.0.0.48": survey.Free, "10.0.0.60": survey.HostsOwn,
		"10.0.0.129": survey.Excluded, "10.0.0.255": survey.Unusable,
	} {
		if states[at] != state {
			t.Errorf("%s is %q, want %q", at, states[at], state)
		}
	}
	total := 0
	for _, n := range g.Counts {
		total += n
	}
	if total != 256 || g.Counts[survey.Excluded] != 8 { // one of the nine has a record
		t.Errorf("it counts %v", g.Counts)
	}
}

// wide is a cluster of one network with a subnet, and records at some addresses.
func wide(t *testing.T, subnet string, exclude string, leased ...string) (kept, *survey.Survey) {
	t.Helper()
	k, s := cluster(t)
	wide := store.Network{UUID: "u9", Name: "wide", Created: store.Definition{
		Segment: "wide", Pools: []store.Pool{{Subnet: netip.MustParsePrefix(subnet)}},
	}}
	if exclude != "" {
		wide.Overrides.Exclude = []string{exclude}
	}
	s.Hosts, s.Networks = nil, survey.NewNetworks([]store.Network{wide}, nil)
	for _, at := range leased {
		k.lease("wide", at, store.Lease{State: store.Leased, Node: "id1", Network: "u9"})
	}
	return k, s
}

// told is a grid's blocks in a line each.
func told(g survey.Grid) (lines []string) {
	for _, b := range g.Blocks {
		var counts []string
		for _, state := range slices.Sorted(maps.Keys(b.Counts)) {
			counts = append(counts, fmt.Sprintf("%s %d", state, b.Counts[state]))
		}
		lines = append(lines, b.Prefix.String()+": "+strings.Join(counts, ", "))
	}
	return lines
}

// TestBlocks: up to 65,536 addresses every block is shown, of more those that have
// something.
func TestBlocks(t *testing.T) {
	k, s := wide(t, "10.0.0.0/16", "10.0.2.0-10.0.3.9", "10.0.2.1", "10.0.3.1", "10.0.3.200", "10.0.255.1")
	g := gridOf(t, k, s, "10.0.0.0/16", map[netip.Addr]survey.Entry{addr("10.0.7.7"): {Address: addr("10.0.7.7"), State: survey.Awaited}})
	lines := told(g)
	if len(lines) != 256 || g.Sparse || len(g.Addresses) != 0 {
		t.Fatalf("a /16 has %d blocks, sparse %v, and %d addresses", len(lines), g.Sparse, len(g.Addresses))
	}
	for i, want := range map[int]string{
		0: "10.0.0.0/24: unusable 1", 1: "10.0.1.0/24: ", 2: "10.0.2.0/24: excluded 255, starting 1", 3: "10.0.3.0/24: excluded 9, starting 2",
		7: "10.0.7.0/24: awaited 1", 255: "10.0.255.0/24: starting 1, unusable 1",
	} {
		if lines[i] != want {
			t.Errorf("block %d is %q, want %q", i, lines[i], want)
		}
	}
	if want := map[survey.State]int{survey.Excluded: 264, survey.Starting: 4, survey.Unusable: 2, survey.Awaited: 1}; !cmp.Equal(g.Counts, want) {
		t.Errorf("it counts %v, want %v", g.Counts, want)
	}

	k, s = wide(t, "fd00::/64", "fd00::ffff:0:0:0-fd00::ffff:ffff:ffff:ffff", "fd00::5", "fd00::1:0:0:7")
	g = gridOf(t, k, s, "fd00::/64", nil)
	want := []string{"fd00::/120: starting 1, unusable 1", "fd00::1:0:0:0/120: starting 1"}
	if got := told(g); !g.Sparse || !cmp.Equal(got, want) {
		t.Errorf("a /64 shows %q, sparse %v, want %q", got, g.Sparse, want)
	}
	if g.Counts[survey.Excluded] != 1<<48 {
		t.Errorf("it counts %v", g.Counts)
	}
}

// TestCoarserBlocks: where too many blocks have something, larger ones are shown, and
// each can be opened down to its addresses.
func TestCoarserBlocks(t *testing.T) {
	var leased []string
	for i := range 300 {
		leased = append(leased, fmt.Sprintf("10.%d.%d.9", i/200, i%200))
	}
	k, s := wide(t, "10.0.0.0/8", "", leased...)
	g := gridOf(t, k, s, "10.0.0.0/8", nil)
	if got, want := told(g), []string{"10.0.0.0/16: starting 200, unusable 1", "10.1.0.0/16: starting 100", "10.255.0.0/16: unusable 1"}; !cmp.Equal(got, want) {
		t.Errorf("it shows %q, want %q", got, want)
	}
	g = gridOf(t, k, s, "10.1.0.0/16", nil)
	if len(g.Blocks) != 256 || g.Blocks[99].Counts[survey.Starting] != 1 || g.Blocks[100].Counts[survey.Starting] != 0 {
		t.Errorf("a block of it shows %q", told(g))
	}
	if g = gridOf(t, k, s, "10.1.99.0/24", nil); len(g.Addresses) != 256 || g.Addresses[9].State != survey.Starting {
		t.Errorf("the finest block shows %d addresses", len(g.Addresses))
	}
}

// TestSubnetsOfEverySize make a picture of no more than 1,024 parts.
func TestSubnetsOfEverySize(t *testing.T) {
	for bits := range 25 {
		subnet := fmt.Sprintf("0.0.0.0/%d", bits+8)
		k, s := wide(t, subnet, "0.0.0.1", "0.0.0.3")
		g := gridOf(t, k, s, subnet, nil)
		if n := len(g.Addresses) + len(g.Blocks); n == 0 || n > 1024 || (len(g.Addresses) > 0) != (bits+8 >= 22) {
			t.Errorf("%s has %d addresses and %d blocks", subnet, len(g.Addresses), len(g.Blocks))
		}
	}
	for _, subnet := range []string{"fd00::/8", "fd00::/48", "fd00::/113", "fd00::/118", "fd00::/127", "::/0", "0.0.0.0/0", "255.255.255.0/24", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120"} {
		k, s := wide(t, subnet, "")
		if g := gridOf(t, k, s, subnet, nil); len(g.Addresses)+len(g.Blocks) > 1024 || len(g.Addresses)+len(g.Blocks) == 0 {
			t.Errorf("%s has %d addresses and %d blocks", subnet, len(g.Addresses), len(g.Blocks))
		}
	}
}
