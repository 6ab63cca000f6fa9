package lab

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// ClaimKind is how somebody said to have an address.
type ClaimKind string

// The kinds of claims.
const (
	Reply         ClaimKind = "ARP reply"
	Request       ClaimKind = "sender of an ARP request"
	Gratuitous    ClaimKind = "gratuitous ARP or unsolicited advertisement"
	Advertisement ClaimKind = "neighbour advertisement"
)

// Claim is one frame that says that somebody has an address.
type Claim struct {
	At   time.Time
	Kind ClaimKind
	Addr netip.Addr
	MAC  net.HardwareAddr
	Port string // of the bridge, by which the frame came in
	// Probe is the watcher's question that this answers, from 1; 0: somebody
	// else's, or none.
	Probe int
}

// holder is who claims, as far as the LAN can tell.
func (c Claim) holder() string { return c.MAC.String() + " by " + c.Port }

// Seen is what a watcher saw, in the order it came.
type Seen struct {
	Claims []Claim
	probes []probe // the nth is Probe n+1
	// unasked counts questions that could not be sent: a bridge whose ports are
	// all down takes none.
	unasked int
}

// probe is one question.
type probe struct {
	addr netip.Addr
	at   time.Time
}

// asked takes a question and gives its number.
func (s *Seen) asked(addr netip.Addr, at time.Time) int {
	s.probes = append(s.probes, probe{addr, at})
	return len(s.probes)
}

func (s Seen) clone() Seen {
	s.Claims, s.probes = slices.Clone(s.Claims), slices.Clone(s.probes)
	return s
}

// Of is every claim to an address, answers to whomever among them.
func (s Seen) Of(addr netip.Addr) []Claim {
	return slices.DeleteFunc(slices.Clone(s.Claims), func(c Claim) bool { return c.Addr != addr })
}

// Asked is how often the watcher asked for an address.
func (s Seen) Asked(addr netip.Addr) (n int) {
	for _, p := range s.probes {
		if p.addr == addr {
			n++
		}
	}
	return n
}

// Answers has for each question for an address, in order, the answers to it:
// none, one, or those of two holders.
func (s Seen) Answers(addr netip.Addr) [][]Claim {
	byProbe := map[int][]Claim{}
	for _, c := range s.answers(addr) {
		byProbe[c.Probe] = append(byProbe[c.Probe], c)
	}
	var all [][]Claim
	for i, p := range s.probes {
		if p.addr == addr {
			all = append(all, byProbe[i+1])
		}
	}
	return all
}

// answers are those to the watcher's questions, by question.
func (s Seen) answers(addr netip.Addr) []Claim {
	answers := slices.DeleteFunc(s.Of(addr), func(c Claim) bool { return c.Probe == 0 })
	slices.SortStableFunc(answers, func(a, b Claim) int { return cmp.Compare(a.Probe, b.Probe) })
	return answers
}

// takeTurns is how soon a former holder must not answer again: no address moves
// there and back that fast, so both have it.
const takeTurns = time.Second

// OneHolder is nil when at no moment two had an address: no question got two
// answers, and no two holders took turns. That nobody had it is no error.
func (s Seen) OneHolder(addr netip.Addr) error {
	for n, answers := range s.Answers(addr) {
		if len(answers) > 1 {
			return fmt.Errorf("two holders of %s: question %d of %d got %d answers, %s and %s", addr, n+1, s.Asked(addr), len(answers), answers[0].holder(), answers[1].holder())
		}
	}
	moves := s.Handovers(addr)
	for i := range len(moves) - 1 {
		away, back := moves[i], moves[i+1]
		if back.To.holder() == away.From.holder() && back.To.At.Sub(away.From.At) < takeTurns {
			return fmt.Errorf("two holders of %s take turns: %s, %s and %s again within %s", addr, away.From.holder(), away.To.holder(), back.To.holder(), back.To.At.Sub(away.From.At))
		}
	}
	return nil
}

// Gap lies between two answers of which one is not the next of the same holder
// to the next question.
type Gap struct {
	From, To Claim // the last answer before, and the first after
	// Unanswered is how many questions nobody answered in between.
	Unanswered int
}

// Length is the time between the last answer and the first after it. The true
// gap is shorter by no more than the time between two questions at either end.
func (g Gap) Length() time.Duration { return g.To.At.Sub(g.From.At) }

// String is for logs.
func (g Gap) String() string {
	return fmt.Sprintf("%s: from %s to %s in %s, %d questions without an answer", g.From.Addr, g.From.holder(), g.To.holder(), g.Length().Round(time.Millisecond), g.Unanswered)
}

// Gaps are the times that nobody answered for an address in between answers,
// and every change of its holder.
func (s Seen) Gaps(addr netip.Addr) []Gap {
	var gaps []Gap
	var before *Claim
	unanswered := 0
	for _, answers := range s.Answers(addr) {
		if len(answers) == 0 {
			unanswered++
			continue
		}
		for i := range answers {
			a := &answers[i]
			if before != nil && (unanswered > 0 || a.holder() != before.holder()) {
				gaps = append(gaps, Gap{From: *before, To: *a, Unanswered: unanswered})
			}
			before, unanswered = a, 0
		}
	}
	return gaps
}

// Handovers are the gaps after which another holder answered.
func (s Seen) Handovers(addr netip.Addr) []Gap {
	return slices.DeleteFunc(s.Gaps(addr), func(g Gap) bool { return g.From.holder() == g.To.holder() })
}

// Stop ends the recording. A frame that was lost fails the test.
func (w *Watcher) Stop(t testing.TB) Seen {
	t.Helper()
	seen, err := w.End()
	if err != nil {
		t.Errorf("watch the LAN: %v", err)
	}
	return seen
}

// Await waits until an address was answered for by a machine's port.
func (w *Watcher) Await(ctx context.Context, addr netip.Addr, m *Machine) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		seen := w.Seen()
		for _, c := range seen.answers(addr) {
			if c.Port == w.lan.Port(m) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer for %s from %s to %d questions: %w", addr, m.Name, seen.Asked(addr), ctx.Err())
		case <-tick.C:
		}
	}
}
