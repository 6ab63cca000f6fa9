package agent

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/cmd/internal/config"
	"gvlan/dns/zone"
	"gvlan/driver/trouble"
)

// TestPortInUse: an address of --dns-listen that another program has, for UDP or TCP,
// is told with what it means, and answers when that program has gone.
func TestPortInUse(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			address, release := occupied(t, network)
			z, err := zone.New(zone.Config{Node: "h1", Domain: "gvlan.internal", Hosts: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
			if err != nil {
				t.Fatal(err)
			}
			var logged bytes.Buffer
			log := slog.New(slog.NewTextHandler(&logged, nil))
			n := &names{
				config: config.DNS{On: true, Listen: []string{address}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
				zone:   z, unserved: trouble.NewBook(time.Now, log), again: time.Millisecond, log: log,
			}
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- n.serve(ctx) }()
			eventually(t, "it is told", func() bool { return len(n.warnings()) == 1 })
			for _, words := range []string{address + " (--dns-listen)", "address already in use", "ss -lntup", "no answer"} {
				if said := n.warnings()[0]; !strings.Contains(said, words) {
					t.Errorf("it is told %q, want %q", said, words)
				}
			}
			release()
			eventually(t, "it answers", func() bool { return len(n.warnings()) == 0 && answers(address) })
			end()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			for _, words := range []string{"failed, and is tried again", "works again"} {
				if strings.Count(logged.String(), words) != 1 {
					t.Errorf("logged, want one line with %q:\n%s", words, logged.String())
				}
			}
		})
	}
}

// occupied is an address of the loopback whose port another program has.
func occupied(t *testing.T, network string) (address string, release func()) {
	t.Helper()
	if network == "tcp" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l.Addr().String(), func() { l.Close() }
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return c.LocalAddr().String(), func() { c.Close() }
}

// answers reports whether somebody answers a question about a name.
func answers(address string) bool {
	_, err := miekg.Exchange(new(miekg.Msg).SetQuestion("gvlan.internal.", miekg.TypeSOA), address)
	return err == nil
}
