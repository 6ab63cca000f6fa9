package lab

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netns"
)

// Do runs f in the machine's network namespace: sockets that f opens itself, not by
// way of other goroutines, belong to the machine and go on doing so afterwards.
func (m *Machine) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Not unlocked: the thread is in another namespace now and ends with the goroutine.
		runtime.LockOSThread()
		result <- func() error {
			ns, err := netns.GetFromPid(m.PID)
			if err != nil {
				return fmt.Errorf("open network namespace of %s: %w", m.Name, err)
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				return fmt.Errorf("enter network namespace of %s: %w", m.Name, err)
			}
			return f()
		}()
	}()
	return <-result
}

// DialContext connects from the machine to an address in digits: a name would be
// looked up by other goroutines, outside the machine.
func (m *Machine) DialContext(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = m.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens inside the machine.
func (m *Machine) Listen(ctx context.Context, network, addr string) (l net.Listener, err error) {
	err = m.Do(func() error {
		l, err = (&net.ListenConfig{}).Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// ListenPacket listens for datagrams inside the machine.
func (m *Machine) ListenPacket(ctx context.Context, network, addr string) (c net.PacketConn, err error) {
	err = m.Do(func() error {
		c, err = (&net.ListenConfig{}).ListenPacket(ctx, network, addr)
		return err
	})
	return c, err
}
