package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/cluster/store"
	"gvlan/dns/sandbox"
	"gvlan/dns/zone"
	"gvlan/driver/netns"
	"gvlan/tests/lab"
)

const (
	lookups = 500 // per side and round
	sides   = 5   // rounds
)

// docker compares, inside a container of a real engine, a name of another
// host answered by us with a name of this host answered by Docker's own
// resolver. On the way it checks that every kind of name arrives.
func docker(release lab.Release) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	l, err := lab.Up(ctx, lab.Options{Hosts: lab.Same(1, release)})
	if err != nil {
		return err
	}
	defer l.Close()
	box, subnet, err := container(ctx, l.Hosts[0])
	if err != nil {
		return err
	}
	zone, err := zone.New(zone.Config{Node: node})
	if err != nil {
		return err
	}
	fillRemote(zone, subnet)
	sandboxes := sandbox.New(zone, netns.Do, slog.Default())
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- sandboxes.Run(running) }()
	defer func() { stop(); <-done }()
	var ratios []float64
	for range sides {
		theirs, err := lookup(box, "local", "")
		if err != nil {
			return fmt.Errorf("without us: %w", err)
		}
		if err := attach(sandboxes, box); err != nil {
			return err
		}
		if err := kinds(box); err != nil {
			return err
		}
		ours, err := lookup(box, "remote", remote)
		if err != nil {
			return fmt.Errorf("with us: %w", err)
		}
		sandboxes.Detach("endpoint")
		ratios = append(ratios, float64(ours)/float64(theirs))
	}
	report("sandbox_lookup_over_docker_"+strings.ReplaceAll(string(release), ".", "_"), median(ratios))
	return nil
}

// container starts the two containers of the comparison and returns the
// sandbox of the one that asks, and the subnet both are on.
func container(ctx context.Context, h *lab.Host) (box string, subnet netip.Prefix, err error) {
	for _, args := range [][]string{
		{"network", "create", "app"},
		{"run", "-d", "--network", "app", "--name", "local", "busybox", "sleep", "3600"},
		{"run", "-d", "--network", "app", "--name", "asks", "busybox", "sleep", "3600"},
	} {
		if _, err := h.Docker(ctx, args...); err != nil {
			return "", subnet, err
		}
	}
	out, err := h.Docker(ctx, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "app")
	if err != nil {
		return "", subnet, err
	}
	if subnet, err = netip.ParsePrefix(out); err != nil {
		return "", subnet, err
	}
	key, err := h.Docker(ctx, "inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "asks")
	return h.Path(strings.Replace(key, "/var/run/", "/run/", 1)), subnet, err
}

const remote = "192.0.2.77" // of the name on "another host"

// fillRemote makes the container's own network one of ours, with one
// container on another host.
func fillRemote(zone *zone.Zone, subnet netip.Prefix) {
	def := store.Network{UUID: network, Name: network}
	def.Created.Pools = []store.Pool{{Subnet: subnet}}
	zone.ApplyNetworks(store.Change{Reset: true, Items: []store.Item{{Key: store.NetworkKey(network), Value: store.Encode(def), Modified: 1}}})
	e := store.Endpoint{Endpoint: "e", Node: "h2", Network: network, IPv4: remote + "/24", IPv6: "2001:db8::77/64",
		Container: store.Container{Name: "remote", Ports: []string{"80/tcp"}, Labels: map[string]string{"gvlan.txt": "hello"}}}
	zone.ApplyEndpoints(store.Change{Reset: true, Items: []store.Item{{Key: store.EndpointKey("h2", "e"), Value: store.Encode(e), Modified: 2}}})
}

// attach returns when names are answered in the sandbox.
func attach(s *sandbox.Resolvers, box string) error {
	if err := s.Attach(box, "endpoint", network); err != nil {
		return err
	}
	for range 500 {
		if m, err := ask(box, "udp", "remote", miekg.TypeA); err == nil && len(m.Answer) == 1 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("names are not answered in %s", box)
}

// kinds asks for every kind of name over both transports.
func kinds(box string) error {
	for _, transport := range []string{"udp", "tcp"} {
		for _, q := range []struct {
			name  string
			qtype uint16
			want  string
		}{
			{"remote", miekg.TypeA, remote},
			{"remote.lan1", miekg.TypeAAAA, "2001:db8::77"},
			{"remote.lan1.gvlan.internal", miekg.TypeTXT, "hello"},
			{"_80._tcp.remote", miekg.TypeSRV, "remote.lan1.gvlan.internal."},
			{"77.2.0.192.in-addr.arpa", miekg.TypePTR, "remote.lan1.gvlan.internal."},
			{"gvlan.internal", miekg.TypeSOA, "ns.gvlan.internal."},
			{"local", miekg.TypeA, "."}, // Docker's, passed on
		} {
			m, err := ask(box, transport, q.name, q.qtype)
			if err != nil {
				return fmt.Errorf("ask for %s over %s: %w", q.name, transport, err)
			}
			if len(m.Answer) != 1 || !strings.Contains(m.Answer[0].String(), q.want) {
				return fmt.Errorf("ask for %s over %s: want %s, got\n%v", q.name, transport, q.want, m)
			}
		}
	}
	return nil
}

// lookup returns the median time of one lookup, each on a socket of its
// own as resolver libraries do it. want is the address, "" is any.
func lookup(box, name, want string) (time.Duration, error) {
	var times []float64
	for range lookups {
		conn, err := dial(box, "udp")
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		m, err := exchange(conn, name, miekg.TypeA)
		times = append(times, float64(time.Since(begin)))
		conn.Close()
		if err != nil {
			return 0, fmt.Errorf("ask for %s: %w", name, err)
		}
		if len(m.Answer) != 1 || !strings.Contains(m.Answer[0].String(), want) {
			return 0, fmt.Errorf("ask for %s: want %s, got\n%v", name, want, m)
		}
	}
	return time.Duration(median(times)), nil
}

func ask(box, transport, name string, qtype uint16) (*miekg.Msg, error) {
	conn, err := dial(box, transport)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return exchange(conn, name, qtype)
}

func dial(box, transport string) (conn net.Conn, err error) {
	err = netns.Do(box, func() (err error) {
		conn, err = net.Dial(transport, "127.0.0.11:53")
		return err
	})
	return conn, err
}

func exchange(conn net.Conn, name string, qtype uint16) (*miekg.Msg, error) {
	m, _, err := new(miekg.Client).ExchangeWithConn(new(miekg.Msg).SetQuestion(miekg.Fqdn(name), qtype), &miekg.Conn{Conn: conn})
	return m, err
}
