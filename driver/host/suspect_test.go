package host_test

import (
	"testing"
	"time"

	"gvlan/driver/host"
)

// TestSeenAliveInBetween: two observations of death count only in a row.
func TestSeenAliveInBetween(t *testing.T) {
	s := host.NewSuspects()
	now := time.Unix(1_800_000_000, 0)
	if s.Proven("e", now, 0) {
		t.Error("proven at first sight")
	}
	s.Round()
	s.Round() // a round that did not suspect it
	if s.Proven("e", now.Add(time.Hour), 0) {
		t.Error("proven by an observation from before it was seen alive")
	}
	s.Round()
	if s.Proven("e", now.Add(2*time.Hour), 1) {
		t.Error("proven by an observation from before the engine went away")
	}
	s.Round()
	if !s.Proven("e", now.Add(2*time.Hour+host.SecondLook), 1) {
		t.Error("not proven by two observations in a row")
	}
}
