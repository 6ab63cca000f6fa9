//go:build !race

package sim

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

var (
	portA = netip.MustParseAddrPort("10.0.0.1:7947")
	portB = netip.MustParseAddrPort("10.0.0.2:7947")
)

// send sends a packet from a to b's address.
func send(t *testing.T, from *Port, to netip.AddrPort) {
	t.Helper()
	if _, err := from.WriteTo([]byte("x"), to.String()); err != nil {
		t.Error(err)
	}
}

func TestFabricPackets(t *testing.T) {
	virtually(t, func(t *testing.T) {
		f := NewFabric()
		a := f.Open(portA)
		send(t, a, portB) // nobody there: silence
		b := f.Open(portB)
		send(t, a, portB)
		if p := <-b.PacketCh(); string(p.Buf) != "x" || p.From.String() != portA.String() {
			t.Errorf("got %q from %s", p.Buf, p.From)
		}
		f.Cut(func(from, to netip.AddrPort) bool { return from == portA })
		send(t, a, portB)
		send(t, b, portA)
		<-a.PacketCh()
		f.Cut(nil)
		b.Stall(3 * time.Second)
		began := time.Now()
		send(t, a, portB)
		<-b.PacketCh()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("a stalled port got its packet after %s, want 3s", took)
		}
		for range queueDepth + 2 {
			send(t, a, portB)
		}
		if n := f.Dropped(); n != 2 {
			t.Errorf("counted %d dropped packets, want 2", n)
		}
		if err := a.Shutdown(); err != nil {
			t.Error(err)
		}
		_, err := a.WriteTo([]byte("x"), portB.String())
		var op *net.OpError
		if err == nil || errors.As(err, &op) {
			t.Errorf("a closed port writes with %v, want an error that does not blame the other side", err)
		}
		if got, want := a.Sent().Packets, 4+queueDepth+2; got != want {
			t.Errorf("counted %d packets, want %d", got, want)
		}
	})
}

func TestFabricStreams(t *testing.T) {
	virtually(t, func(t *testing.T) {
		f := NewFabric()
		a, b := f.Open(portA), f.Open(portB)
		to := memberlist.Address{Addr: portB.String()}
		near, err := a.DialAddressTimeout(to, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		far := <-b.StreamCh()
		go func() {
			if _, err := near.Write([]byte("hello")); err != nil {
				t.Error(err)
			}
			near.Close()
		}()
		if got, err := io.ReadAll(far); err != nil || string(got) != "hello" {
			t.Errorf("read %q, %v", got, err)
		}
		f.Cut(func(from, to netip.AddrPort) bool { return from == portB })
		began := time.Now()
		if _, err := a.DialAddressTimeout(to, time.Second); err == nil || time.Since(began) != time.Second {
			t.Errorf("a stream that gets no answer ends with %v after %s", err, time.Since(began))
		}
		f.Cut(nil)
		waiting, err := a.DialAddressTimeout(to, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Shutdown(); err != nil {
			t.Error(err)
		}
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a stream nobody took reads %v, want %v", err, io.EOF)
		}
		if _, err := a.DialAddressTimeout(to, time.Second); err == nil {
			t.Error("a closed port took a stream")
		}
	})
}
