//go:build !race

package frame

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
)

// TestWaitIsToldOnce: where no terminal is, once for each thing that is waited
// for, and not at all when it is quick.
func TestWaitIsToldOnce(t *testing.T) {
	tests := []struct {
		name string
		wait func(*Wait)
		want string
	}{
		{"quick", func(*Wait) { time.Sleep(patience / 2) }, ""},
		{"slow", func(*Wait) { time.Sleep(5 * patience) }, "waiting for h2\n"},
		{"two things", func(w *Wait) {
			time.Sleep(2*patience + patience/2)
			w.For("h3")
			time.Sleep(2 * patience)
		}, "waiting for h2\nwaiting for h3\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				c := &cobra.Command{}
				c.SetErr(&out)
				w := Waiting(c, "h2")
				test.wait(w)
				w.End()
				w.End() // as a command does that ends it before it prints, and when it returns
				if out.String() != test.want {
					t.Errorf("it says %q, want %q", out.String(), test.want)
				}
			})
		})
	}
}

// TestAnsweredSaysWhatIsWaitedFor: the agent, until something is said more
// closely.
func TestAnsweredSaysWhatIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := &cobra.Command{}
		c.SetContext(t.Context())
		c.SetErr(&out)
		_, _ = Answered(c, func() (int, error) {
			time.Sleep(2*patience + patience/2)
			closer := Waiting(c, "the LAN")
			time.Sleep(2*patience + patience/2)
			closer.End()
			time.Sleep(2 * patience)
			return 0, nil
		})
		if want := "waiting for this host's agent to answer\nwaiting for the LAN\n"; out.String() != want {
			t.Errorf("it says %q, want %q", out.String(), want)
		}
	})
}
