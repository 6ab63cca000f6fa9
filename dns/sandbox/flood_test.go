package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/dns/dnstest"
)

// TestFlood: a container has its resolver ask more than it may at once of servers
// that say nothing, over UDP and TCP, and holds every connection there is. Another
// one's questions are answered, of our names and of the rest of the world, over both.
func TestFlood(t *testing.T) {
	f := dnstest.House(t)
	flooder := dnstest.NewSandbox(t).WithDocker(nil)
	silence := make(chan struct{})
	t.Cleanup(func() { close(silence) }) // which its servers wait for when they end
	flooder.Docker.Silent(silence)
	other := dnstest.NewSandbox(t).WithDocker(nil)
	s := runSandboxes(t, f.Zone, enterPath)
	s.attach(t, flooder, "e1", "lan1")
	s.attach(t, other, "e2", "lan1")

	question := func(i int) []byte {
		raw, err := new(miekg.Msg).SetQuestion(fmt.Sprintf("x%d.example.com.", i), miekg.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	// Until one is told that there is no place: then all are taken.
	conn := flooder.Client("udp")
	refused := make(chan *miekg.Msg, 1)
	go func() {
		answer, err := (&miekg.Conn{Conn: conn}).ReadMsg()
		if err == nil {
			refused <- answer
		}
	}()
	sent := 0
	dnstest.Eventually(t, "the flooder takes every place", func() bool {
		for range 50 {
			sent++
			if _, err := conn.Write(question(sent)); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case m := <-refused:
			if m.Rcode != miekg.RcodeServerFailure {
				t.Fatalf("a question that finds no place is answered\n%v", m)
			}
			return true
		default:
			return false
		}
	})
	// Of one address of the container, until a connection is closed at once.
	full := false
	for i := 0; i < 1000 && !full; i++ {
		stream := flooder.Client("tcp")
		wire := &miekg.Conn{Conn: stream}
		if _, err := wire.Write(question(i)); err != nil {
			full = true
			break
		}
		stream.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		_, err := stream.Read(make([]byte, 1))
		full = err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	if !full {
		t.Error("1,000 connections are open at once")
	}
	for _, network := range []string{"udp", "tcp"} {
		for name, want := range map[string]string{"db": "10.9.0.20", "example.com": dnstest.External} {
			got, err := dnstest.First(other.Lookup(network, name, miekg.TypeA), nil)
			if err != nil || got != want {
				t.Errorf("%s over %s while another container floods: %q, %v; want %s", name, network, got, err, want)
			}
		}
	}
	if got, err := dnstest.First(flooder.Lookup("udp", "db", miekg.TypeA), nil); err != nil || got != "10.9.0.20" {
		t.Errorf("the flooder's own question for a name of ours: %q, %v", got, err)
	}
}
