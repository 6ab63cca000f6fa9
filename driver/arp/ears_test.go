package arp

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gvlan/driver/trouble"
)

// send puts a frame on an interface of the calling thread's namespace, so many times.
func send(ifname string, frame []byte, times int) error {
	iface, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for range times {
		err = errors.Join(err, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: iface.Index}))
	}
	return err
}

// me is nobody else who tests on the loopback of this machine now.
var me = func() net.HardwareAddr {
	mac := net.HardwareAddr{2, 0x98, 0, 0, 0, 0}
	_, _ = rand.Read(mac[2:]) // never fails
	return mac
}()

// TestEars: networks are heard where they hang from, and no more when they are gone;
// that an interface cannot be listened on is told until it can, or need not be.
func TestEars(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	var networks atomic.Pointer[[]Network]
	on := func(all ...Network) { networks.Store(&all) }
	type saying struct {
		network string
		addr    netip.Addr
	}
	heard := make(chan saying, 256)
	e := New(Config{
		Networks: func(context.Context) ([]Network, error) { return *networks.Load(), nil },
		Heard: func(network string, addr netip.Addr, mac net.HardwareAddr) {
			if mac.String() == me.String() {
				heard <- saying{network, addr}
			}
		},
		Troubles: trouble.NewBook(time.Now, log), Log: log,
	})
	one := Network{ID: "n1", Parent: "lo", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	two := Network{ID: "n2", Parent: "lo", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
	on(one)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	until := func(what string, is func() bool) {
		t.Helper()
		for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
			e.Listens("anew") // has it look soon
			if time.Since(began) > time.Minute {
				t.Fatalf("%s did not come within a minute", what)
			}
		}
	}
	until("listening for one", func() bool { return e.Listens("n1") })
	if e.Listens("n2") {
		t.Error("it listens for a network that nobody told of")
	}
	on(one, two)
	until("listening for two", func() bool { return e.Listens("n2") })
	hears := func(address string, want ...saying) {
		t.Helper()
		if err := send("lo", arpFrame(1, me, addr(address)), 1); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if got := <-heard; got != w {
				t.Errorf("heard %v, want %v", got, w)
			}
		}
	}
	hears("10.0.0.7", saying{"n1", addr("10.0.0.7")}, saying{"n2", addr("10.0.0.7")})
	hears("10.0.9.7", saying{"n2", addr("10.0.9.7")})

	wide := one
	wide.Subnets = two.Subnets
	on(wide)
	for n1, began := false, time.Now(); !n1; e.Listens("anew") { // once it listens for the other subnet
		if err := send("lo", arpFrame(1, me, addr("10.0.9.8")), 1); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-heard:
			n1 = got == saying{"n1", addr("10.0.9.8")}
		case <-time.After(10 * time.Millisecond):
			if time.Since(began) > time.Minute {
				t.Fatal("it does not listen for the network's other subnets")
			}
		}
	}

	away := one
	away.Parent = "not-there"
	on(away)
	until("trouble", e.cfg.Troubles.Any)
	if e.Listens("n1") || e.Listens("n2") {
		t.Error("it listens without an interface")
	}
	on(one)
	until("listening after trouble", func() bool { return e.Listens("n1") && !e.cfg.Troubles.Any() })
	on(away)
	until("trouble again", e.cfg.Troubles.Any)
	on()
	until("an end of the trouble with the network", func() bool { return !e.cfg.Troubles.Any() })
	on(one)
	until("listening again", func() bool { return e.Listens("n1") })
	cancel()
	if err := <-ended; err != nil || e.Listens("n1") {
		t.Errorf("it ends with %v, listening: %t", err, e.Listens("n1"))
	}
}

// TestEndIsSeen: an interface that was listened on and is so no more is listened on
// anew, although the network stayed.
func TestEndIsSeen(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	one := Network{ID: "n1", Parent: "lo", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	e := New(Config{Heard: func(string, netip.Addr, net.HardwareAddr) {}, Troubles: trouble.NewBook(time.Now, log), Log: log})
	defer e.replace(t.Context(), nil)
	for range 2 {
		e.replace(t.Context(), []Network{one})
		<-e.on["lo"].begun
		if !e.Listens("n1") {
			t.Fatal("it does not listen")
		}
		e.on["lo"].cancel()
		<-e.on["lo"].ended
		if e.Listens("n1") {
			t.Fatal("it listens, where nobody does any more")
		}
	}
}

// TestTroubleIsOver where the interface that was away is there: the network hangs
// from it all the time.
func TestTroubleIsOver(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	troubles := trouble.NewBook(time.Now, log)
	one := Network{ID: "n1", Parent: "lo", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	e := New(Config{Heard: func(string, netip.Addr, net.HardwareAddr) {}, Troubles: troubles, Log: log})
	troubles.Tell(listening("lo"), errGone)
	e.replace(t.Context(), []Network{one})
	defer e.replace(t.Context(), nil)
	for began := time.Now(); troubles.Any(); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("it listens, and says that it cannot")
		}
	}
}
