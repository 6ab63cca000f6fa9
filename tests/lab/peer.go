package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// Peer is a machine on the LAN that runs nothing of ours: what it reaches, anybody
// on the LAN reaches.
type Peer struct {
	*Machine
}

func (l *Lab) newPeer() (*Peer, error) {
	m, err := l.boot("peer", NoDocker)
	if err != nil {
		return nil, err
	}
	p := &Peer{Machine: m}
	return p, l.LAN.plug(m, peerNumber)
}

// AddAddress gives the machine a further address on its card, so that it is on the
// subnet of the containers it is to reach.
func (m *Machine) AddAddress(p netip.Prefix) error { return m.configure(nic, p) }

// Ping sends echo requests until the first answer, ten at most, one in 0.2 s.
func (m *Machine) Ping(ctx context.Context, addr netip.Addr) error {
	// -w bounds the wait, -c 1 ends it at the first answer: ping(8).
	out, err := m.Exec(ctx, "ping", "-n", "-i", "0.2", "-w", "2", "-c", "1", addr.String())
	if err != nil {
		return fmt.Errorf("ping %s: %w: %s", addr, err, strings.TrimSpace(out))
	}
	return nil
}
