package lab

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// watched plays a record: a question every 20 ms, and by whom it is answered,
// a letter a holder: "A", "AB" (both), "" (nobody).
func watched(addr netip.Addr, answers ...string) (s Seen) {
	at := time.Unix(0, 0)
	for _, by := range answers {
		at = at.Add(probeEvery)
		n := s.asked(addr, at)
		s.asked(netip.MustParseAddr("10.0.0.99"), at) // of another address
		for _, who := range by {
			s.Claims = append(s.Claims, Claim{At: at, Kind: Reply, Addr: addr, Port: "p-h1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(who)}, Probe: n})
		}
	}
	return s
}

func TestSeenHolders(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.7")
	long := make([]string, takeTurns/probeEvery)
	for i := range long {
		long[i] = "B"
	}
	for _, tt := range []struct {
		name    string
		answers []string
		two     bool
		gaps    []string // length of each
		moves   int
	}{
		{name: "nobody", answers: []string{"", ""}},
		{name: "one", answers: []string{"A", "A", "A"}},
		{name: "one that was silent", answers: []string{"A", "", "", "A"}, gaps: []string{"60ms"}},
		{name: "handed over", answers: []string{"A", "A", "", "B", "B"}, gaps: []string{"40ms"}, moves: 1},
		{name: "handed over at once", answers: []string{"A", "B"}, gaps: []string{"20ms"}, moves: 1},
		{name: "two answer one question", answers: []string{"A", "AB", "B"}, two: true, gaps: []string{"0s"}, moves: 1},
		{name: "one answers twice", answers: []string{"A", "AA"}, two: true},
		{name: "two take turns", answers: []string{"A", "B", "A"}, two: true, gaps: []string{"20ms", "20ms"}, moves: 2},
		{name: "there, and back much later", answers: append(append([]string{"A"}, long...), "A"), gaps: []string{"20ms", "20ms"}, moves: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := watched(addr, tt.answers...)
			if err := s.OneHolder(addr); (err != nil) != tt.two {
				t.Errorf("one holder: %v, want an error: %t", err, tt.two)
			}
			var gaps []string
			for _, g := range s.Gaps(addr) {
				gaps = append(gaps, g.Length().String())
			}
			if diff := cmp.Diff(tt.gaps, gaps); diff != "" {
				t.Errorf("gaps (-want +got):\n%s", diff)
			}
			if moves := s.Handovers(addr); len(moves) != tt.moves {
				t.Errorf("handovers: %v, want %d", moves, tt.moves)
			}
			if asked := s.Asked(addr); asked != len(tt.answers) {
				t.Errorf("asked %d times, want %d", asked, len(tt.answers))
			}
		})
	}
}

func TestClaim(t *testing.T) {
	asker, holder := prober{2, 0, 0, 0, 0, 1}, []byte{2, 0, 0, 0, 0, 9}
	four, six := netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("fd00::7")
	reply4, reply6 := reply(asker.question(four), holder), reply(asker.question(six), holder)
	reply6[58] = solicited
	unasked6 := reply(asker.question(six), holder)
	gratuitous, request := reply(asker.question(four), holder), reply(asker.question(four), holder)
	copy(gratuitous[38:42], gratuitous[28:32])
	request[21] = 1
	for _, tt := range []struct {
		name  string
		frame []byte
		want  ClaimKind
	}{
		{"ARP reply", reply4, Reply},
		{"gratuitous ARP", gratuitous, Gratuitous},
		{"ARP request of a holder", request, Request},
		{"ARP probe", asker.question(four), ""},
		{"advertisement", reply6, Advertisement},
		{"unsolicited advertisement", unasked6, Gratuitous},
		{"solicitation", asker.question(six), ""},
		{"cut short", reply4[:41], ""},
		{"cut short, IPv6", reply6[:77], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, ok := claim(tt.frame)
			if c.Kind != tt.want || ok != (tt.want != "") {
				if !ok && tt.want == "" {
					return // a probe is of a kind, and claims nothing
				}
				t.Fatalf("claim %+v, %t; want %q", c, ok, tt.want)
			}
			if ok && c.MAC.String() != net.HardwareAddr(holder).String() {
				t.Errorf("claim is by %s, want %x", c.MAC, holder)
			}
		})
	}
}
