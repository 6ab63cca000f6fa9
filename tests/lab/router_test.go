package lab_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// routersAnswer is when routers that do not find each other count as failed; they
// try anew every few seconds.
const routersAnswer = 2 * time.Minute

// TestRouters: FRR and BIRD speak BGP with each other, with a password (RFC 2385), and
// what one is told to announce the other's kernel has.
func TestRouters(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{})
	frr, err := lab.StartFRR(t.Context(), l.Peer.Machine, fmt.Sprintf(`
router bgp 65001
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor %[1]s remote-as 65002
 neighbor %[1]s password secret
 neighbor %[1]s timers connect 1
 network 10.50.0.0/24
`, l.LAN.Addr4))
	if err != nil {
		t.Fatal(err)
	}
	const bird = `
router id %[1]s;
protocol device {}
protocol kernel { ipv4 { export all; }; }
protocol static { ipv4; route 10.60.0.0/24 blackhole; }
protocol bgp peer {
	local %[1]s as 65002;
	neighbor %[2]s as 65001;
	password "%[3]s";
	connect delay time 1;
	ipv4 { import all; export where source = RTS_STATIC; };
}
`
	b, err := lab.StartBIRD(t.Context(), l.LAN.Machine, fmt.Sprintf(bird, l.LAN.Addr4, l.Peer.Addr4, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	waitRoute(t, l.Peer.Machine, "10.60.0.0/24 ", " via 10.99.0.254 ", " proto bgp ")
	waitRoute(t, l.LAN.Machine, "10.50.0.0/24 ", " via 10.99.0.253 ", " proto bird ")
	if out, err := frr.Show(t.Context(), "show bgp summary"); err != nil || !strings.Contains(out, "65002") {
		t.Errorf("FRR says %s (%v)", out, err)
	}
	if out, err := b.Show(t.Context(), "show protocols peer"); err != nil || !strings.Contains(out, "Established") {
		t.Errorf("BIRD says %s (%v)", out, err)
	}
	if err := errors.Join(b.Kill(), frr.Kill()); err != nil {
		t.Error(err)
	}
}

// waitRoute waits until a line of a machine's routes has these words.
func waitRoute(t *testing.T, m *lab.Machine, words ...string) {
	t.Helper()
	deadline := time.Now().Add(routersAnswer)
	for {
		out := m.MustExec(t, "ip", "route")
	lines:
		for line := range strings.Lines(out) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no route %v in\n%s", m.Name, words, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
