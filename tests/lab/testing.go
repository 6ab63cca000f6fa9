package lab

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// upLimit is when a lab that comes up counts as hanging, on whatever machine,
// and in UML.
const upLimit = 10 * time.Minute

// logTail is how much of each log a failed test prints, in bytes.
const logTail = 8 << 10

// New makes a lab for a test and removes it with the test. When the test fails, the
// ends of all logs are printed. Without root the test is skipped.
func New(t testing.TB, o Options) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a lab needs root") //nolint:forbidigo // not root
	}
	ctx, cancel := context.WithTimeout(t.Context(), upLimit)
	defer cancel()
	l, err := Up(ctx, o)
	if err != nil {
		t.Fatalf("make lab: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			l.printLogs(t)
		}
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return l
}

// withoutChatter leaves out what every containerd says at its start.
func withoutChatter(log string) string {
	var said strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "loading plugin") && !strings.Contains(line, `msg="[core]`) {
			said.WriteString(line)
		}
	}
	return said.String()
}
