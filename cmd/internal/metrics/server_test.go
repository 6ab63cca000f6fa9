package metrics

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(line)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// TestAddressThatIsTaken: an address that cannot be had keeps nobody up; it is told
// once, and again when it is had.
func TestAddressThatIsTaken(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	s := &Server{
		Listen: taken.Addr().String(), Metrics: New("v1"), Live: func(context.Context) error { return nil },
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	until(t, "it is told", func() bool { return strings.Contains(log.text(), "--metrics-listen") })
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is served", func() bool {
		answer, err := http.Get("http://" + s.Listen + "/healthz")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	if said := log.text(); strings.Count(said, "\n") != 2 || !strings.Contains(said, "metrics are served") {
		t.Errorf("logged:\n%s", said)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// until asks until it is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after 30 s: %s", what)
		}
	}
}
