//go:build !race

package sandbox

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
	"gvlan/driver/netns"
)

// lookers are questions for bare names in a sandbox that is slow to enter,
// and that is on a network of another driver.
type lookers struct {
	*resolver
	t        *testing.T
	entered  atomic.Int64
	let      chan struct{} // lets one of the entered go on
	verdicts chan bool
}

func newLookers(t *testing.T, zone *zone.Zone, path string) *lookers {
	l := &lookers{t: t, let: make(chan struct{}), verdicts: make(chan bool, 100)}
	l.resolver = &resolver{zone: zone, enter: func(f func() error) error {
		l.entered.Add(1)
		<-l.let
		return netns.Do(path, f)
	}}
	return l
}

// ask has many questions look, and returns once none of them gets on.
func (l *lookers) ask() {
	for range 50 {
		go func() { l.verdicts <- l.look(l.t.Context(), zone.Networks("uuid-lan1")) }()
	}
	synctest.Wait()
}

func (l *lookers) expect(what string, looks int64, answered int, verdict bool) {
	l.t.Helper()
	if got := l.entered.Load(); got != looks {
		l.t.Errorf("%s: looked %d times, want %d", what, got, looks)
	}
	if got := len(l.verdicts); got != answered {
		l.t.Errorf("%s: %d questions got on, want %d", what, got, answered)
	}
	for range len(l.verdicts) {
		if got := <-l.verdicts; got != verdict {
			l.t.Errorf("%s: on another driver's network: %v, want %v", what, got, verdict)
		}
	}
}

// TestOneLookAtATime has a container flood its resolver while somebody holds
// the kernel's lock of interfaces.
func TestOneLookAtATime(t *testing.T) {
	box := dnstest.NewSandbox(t)
	box.AddNetwork("bridge", "172.18.0.9/16")
	zone := dnstest.House(t).Zone
	synctest.Test(t, func(t *testing.T) {
		l := newLookers(t, zone, box.Path)
		l.ask()
		l.expect("during the first look", 1, 0, true)
		l.let <- struct{}{}
		synctest.Wait()
		l.expect("after the first look", 1, 50, true)
		time.Sleep(lookEvery)
		l.ask()
		l.expect("during a look soon after", 2, 49, true)
		l.let <- struct{}{}
		synctest.Wait()
		l.expect("after it", 2, 1, true)

		box.Run("ip", "link", "delete", "bridge")
		time.Sleep(time.Hour)
		l.ask()
		l.expect("during a look long after", 3, 0, false)
		l.let <- struct{}{}
		synctest.Wait()
		l.expect("after that", 3, 50, false)

		time.Sleep(time.Hour)
		l.ask()
		time.Sleep(ownerBudget)
		synctest.Wait()
		l.expect("during a look that takes too long", 4, 49, false)
		l.let <- struct{}{}
	})
}
