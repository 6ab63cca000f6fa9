package lab_test

import (
	"testing"
	"time"

	"gvlan/tests/lab"
)

// BenchmarkLab measures a lab of three hosts from nothing to engines that answer and
// have their image, and back to nothing.
func BenchmarkLab(b *testing.B) {
	for _, release := range releases {
		b.Run(string(release), func(b *testing.B) {
			var up, down time.Duration
			for b.Loop() {
				start := time.Now()
				l, err := lab.Up(b.Context(), lab.Options{Hosts: lab.Same(3, release)})
				if err != nil {
					b.Fatal(err)
				}
				up += time.Since(start)
				start = time.Now()
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
				down += time.Since(start)
			}
			b.ReportMetric(up.Seconds()/float64(b.N), "s-up")
			b.ReportMetric(down.Seconds()/float64(b.N), "s-down")
		})
	}
}
