//go:build !race

package sim

import (
	"syscall"
	"testing"
	"time"
)

// TestCPU holds what a formed, quiet cluster costs in processor time to 1 %
// of a core for each node. It is real time over virtual time, so nothing
// else may run beside it; what the kernel does for real packets is not in it.
func TestCPU(t *testing.T) {
	const span = 2 * time.Minute
	sizes(t, func(t *testing.T, n int) {
		virtually(t, func(t *testing.T) {
			w := NewWorld(t, n, 1)
			defer w.Close()
			startTogether(w)
			formed(t, w, 5*time.Minute)
			time.Sleep(10*time.Second + time.Duration(n)*300*time.Millisecond)
			before := processorTime(t)
			time.Sleep(span)
			used := processorTime(t) - before
			atMost(t, "gossip_cpu_percent_of_core", n, 100*used.Seconds()/span.Seconds()/float64(n), 1)
		})
	})
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
