package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"gvlan/cluster/store"
)

const (
	// askRounds: each address is asked for so often, as RFC 5227 section 2.1.1
	// has it for probes, since frames get lost; askWait is how long answers to
	// a round are collected.
	askRounds = 3
	askWait   = 500 * time.Millisecond
)

// askLAN implements cluster.Ask by ARP and neighbour solicitations from this
// host's own parent of each endpoint's network. What answers nobody by these,
// as on ipvlan's l3 modes, counts as silent.
func (p *parts) askLAN(ctx context.Context, endpoints []store.Endpoint) (answering []store.Endpoint, unasked int, err error) {
	parents := map[string]string{} // network uuid: interface here
	for _, n := range p.gossip.directory.Known().Nodes[p.self.Node].Description.Networks {
		parents[n.UUID] = n.Parent
	}
	asked := map[askedOn][]netip.Addr{}
	for _, e := range endpoints {
		link, err := net.InterfaceByName(parents[e.Network])
		if err != nil {
			unasked++
			continue
		}
		for _, addr := range addressesOf(e) {
			on := askedOn{link.Index, protocolOf(addr)}
			asked[on] = append(asked[on], addr)
		}
	}
	found, err := whoHas(ctx, asked)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range endpoints {
		for _, addr := range addressesOf(e) {
			if found[addr] {
				answering = append(answering, e)
				break
			}
		}
	}
	return answering, unasked, nil
}

// addressesOf returns an endpoint's addresses, which its record has as CIDR.
func addressesOf(e store.Endpoint) (all []netip.Addr) {
	for _, text := range []string{e.IPv4, e.IPv6} {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			all = append(all, prefix.Addr())
		}
	}
	return all
}

// askedOn is where addresses are asked for: an interface, and the protocol
// of the answers.
type askedOn struct {
	link     int // its index
	protocol uint16
}

// protocolOf is the EtherType in which an address is asked for.
func protocolOf(addr netip.Addr) uint16 {
	if addr.Is4() {
		return unix.ETH_P_ARP
	}
	return unix.ETH_P_IPV6
}

// whoHas asks for addresses and returns those that answered.
func whoHas(ctx context.Context, asked map[askedOn][]netip.Addr) (map[netip.Addr]bool, error) {
	group, ctx := errgroup.WithContext(ctx)
	answers := make(chan netip.Addr)
	for on, addrs := range asked {
		group.Go(func() error { return on.whoHas(ctx, addrs, answers) })
	}
	ended := make(chan error, 1)
	go func() {
		ended <- group.Wait()
		close(answers)
	}()
	found := map[netip.Addr]bool{}
	for addr := range answers {
		found[addr] = true
	}
	return found, <-ended
}

// whoHas asks here and sends what answers.
func (on askedOn) whoHas(ctx context.Context, addrs []netip.Addr, answers chan<- netip.Addr) error {
	link, err := net.InterfaceByIndex(on.link)
	if err != nil {
		return err
	}
	if len(link.HardwareAddr) != 6 {
		return nil // no Ethernet: nobody to ask
	}
	socket, err := on.socket()
	if err != nil {
		return fmt.Errorf("open a packet socket on %s: %w", link.Name, err)
	}
	defer socket.Close()
	from := asker(link.HardwareAddr)
	for range askRounds {
		for _, addr := range addrs {
			if _, err := socket.Write(from.question(addr)); err != nil {
				return fmt.Errorf("ask for %s on %s: %w", addr, link.Name, err)
			}
		}
		if err := from.listen(ctx, socket, answers); err != nil {
			return fmt.Errorf("listen for answers on %s: %w", link.Name, err)
		}
	}
	return nil
}

// listen sends the addresses that answers name, for askWait.
func (a asker) listen(ctx context.Context, socket *os.File, answers chan<- netip.Addr) error {
	if err := socket.SetReadDeadline(time.Now().Add(askWait)); err != nil {
		return err
	}
	frame := make([]byte, 2048)
	for ctx.Err() == nil {
		n, err := socket.Read(frame)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if addr, ok := a.answer(frame[:n]); ok {
			answers <- addr
		}
	}
	return ctx.Err()
}

// socket opens a packet(7) socket.
func (on askedOn) socket() (*os.File, error) {
	protocol := htons(on.protocol)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: on.link}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}
