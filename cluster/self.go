package cluster

import (
	"context"

	"github.com/hashicorp/memberlist"
)

// SetMeta changes what this node tells of itself. Gen is the membership's
// own and Leaving is set by Leave alone.
func (m *Membership) SetMeta(meta Meta) {
	m.mu.Lock()
	defer m.mu.Unlock()
	meta.Flags = meta.Flags&^Leaving | m.metaNow.Flags&Leaving
	meta.Gen = m.metaNow.Gen
	if meta == m.metaNow {
		return
	}
	meta.Gen++
	m.metaNow = meta
	select {
	case m.news <- struct{}{}:
	default:
	}
}

func (m *Membership) meta() Meta {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.metaNow
}

// keepMeta advertises new metadata until ctx ends.
func (m *Membership) keepMeta(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.news:
			if err := list.UpdateNode(updateTimeout); err != nil {
				m.config.Log.Debug("advertise metadata", "err", err)
			}
		}
	}
}

// ack is what this node says in answers to probes.
func (m *Membership) ack() Ack {
	m.mu.Lock()
	ring, list := m.ring, m.list
	m.mu.Unlock()
	a := Ack{Ring: ring, Applied: m.config.Registry.Known().Revision}
	if list != nil {
		a.Health = uint8(min(list.GetHealthScore(), 255))
	}
	return a
}
