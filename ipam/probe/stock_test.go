package probe

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"gvlan/ipam/pool"
)

func place(last int) pool.Place {
	return pool.At(pool.DefaultSegment, netip.AddrFrom4([4]byte{10, 0, byte(last >> 8), byte(last)}))
}

// newTestStock has a clock that the test turns; listening says what this host hears.
func newTestStock(listening *bool) (s *stock, later func(time.Duration)) {
	now := time.Unix(1_800_000_000, 0)
	s = newStock(func() time.Time { return now }, func(string) bool { return *listening })
	return s, func(d time.Duration) { now = now.Add(d) }
}

// TestSilenceLasts: for ten minutes while this host listens, else for one.
func TestSilenceLasts(t *testing.T) {
	listening := true
	s, later := newTestStock(&listening)
	s.enter("n", []pool.Place{place(2)})
	for _, step := range []struct {
		after     time.Duration
		listening bool
		fresh     bool
		aging     bool
	}{
		{0, true, true, false},
		{59 * time.Second, true, true, false},
		{0, false, true, true},
		{time.Second, false, false, true},
		{0, true, true, false},
		{4 * time.Minute, true, true, true},
		{5*time.Minute - time.Second, true, true, true},
		{time.Second, true, false, true},
	} {
		later(step.after)
		listening = step.listening
		if fresh, aging := s.fresh("n", place(2)), s.aging("n", place(2)); fresh != step.fresh || aging != step.aging {
			t.Errorf("%+v: fresh %t, aging %t", step, fresh, aging)
		}
		if got := len(s.of("n")) == 1; got != step.fresh {
			t.Errorf("%+v: it is in stock: %t", step, got)
		}
	}
	if s.fresh("other", place(2)) {
		t.Error("another network, which may hang from another parent, has it")
	}
}

// TestAnAnswerEndsSilence, for every network, until it is settled or old.
func TestAnAnswerEndsSilence(t *testing.T) {
	listening := true
	s, later := newTestStock(&listening)
	s.enter("n", []pool.Place{place(2)})
	s.enter("m", []pool.Place{place(2)})
	by := []net.HardwareAddr{{2, 0x99, 0, 0, 0, 7}}
	s.note("n", place(2), by)
	if s.fresh("n", place(2)) || s.fresh("m", place(2)) || !s.answering(pool.DefaultSegment).Has(place(2).Addr) || len(s.unsettled("n")) != 1 || len(s.unsettled("m")) != 0 {
		t.Error("an answer changed not all of it")
	}
	s.settle(place(2), false)
	s.note("n", place(2), by)
	if len(s.unsettled("n")) != 0 || len(s.pending()) != 1 {
		t.Error("what was settled is not any more")
	}
	s.settle(place(2), true)
	if s.answering(pool.DefaultSegment).Has(place(2).Addr) {
		t.Error("an address with a record is passed over for its answer")
	}
	s.note("n", place(3), by)
	later(heardFor)
	if s.answering(pool.DefaultSegment).Has(place(3).Addr) || len(s.pending()) != 0 {
		t.Error("an old answer counts")
	}
}

// TestTheStockIsBounded: of silent addresses the oldest go; of answers no more are
// kept than there is room for.
func TestTheStockIsBounded(t *testing.T) {
	listening := true
	s, later := newTestStock(&listening)
	for i := range mostSilent + 10 {
		s.enter("n", []pool.Place{place(i)})
		later(time.Millisecond)
	}
	if got := len(s.of("n")); got != mostSilent || s.fresh("n", place(9)) || !s.fresh("n", place(10)) {
		t.Errorf("%d are kept, want the newest %d", got, mostSilent)
	}
	for i := range mostHeard + 10 {
		s.note("n", place(i), []net.HardwareAddr{{2}})
	}
	if got := len(s.pending()); got != mostHeard {
		t.Errorf("%d answers are kept, want %d", got, mostHeard)
	}
	s.forget(func(string) bool { return false })
	if len(s.of("n")) != 0 {
		t.Error("a network that is gone has a stock")
	}
}
