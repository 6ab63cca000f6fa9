package lab

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Cut takes a machine off the LAN as if its cable were pulled at the switch.
func (n *LAN) Cut(m *Machine) error { return n.setPort(m, n.links.LinkSetDown) }

// Mute drops every frame the machine sends: it still hears the LAN.
func (n *LAN) Mute(ctx context.Context, m *Machine) error { return n.filter(ctx, m, "ingress") }

// Deafen drops every frame sent to the machine: the LAN still hears it.
func (n *LAN) Deafen(ctx context.Context, m *Machine) error { return n.filter(ctx, m, "egress") }

// Heal undoes Cut, Mute and Deafen.
func (n *LAN) Heal(ctx context.Context, m *Machine) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.filtered[m.Name] {
		if _, err := n.Exec(ctx, "nft", "delete table netdev "+n.Port(m)); err != nil {
			return fmt.Errorf("heal %s: %w", m.Name, err)
		}
		delete(n.filtered, m.Name)
	}
	return n.setPort(m, n.links.LinkSetUp)
}

// filter drops all frames on a bridge port. What the switch takes in (ingress) is
// what the machine sent; nftables' netdev family sees it before the bridge does.
func (n *LAN) filter(ctx context.Context, m *Machine, direction string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.Port(m)
	rule := fmt.Sprintf("add table netdev %s; add chain netdev %s %s { type filter hook %s device %s priority 0; policy drop; }",
		p, p, direction, direction, p)
	if _, err := n.Exec(ctx, "nft", rule); err != nil {
		return fmt.Errorf("drop %s frames of %s: %w", direction, m.Name, err)
	}
	n.filtered[m.Name] = true
	return nil
}

func (n *LAN) setPort(m *Machine, set func(netlink.Link) error) error {
	dev, err := n.links.LinkByName(n.Port(m))
	if err != nil {
		return fmt.Errorf("find port of %s: %w", m.Name, err)
	}
	if err := set(dev); err != nil {
		return fmt.Errorf("set port of %s: %w", m.Name, err)
	}
	return nil
}
