package gossip

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

// Unacknowledged names the nodes connected to etcd whose last answer to this
// node's own probes did not tell of exactly this ring of keys, in the order
// of names.
func (m *Membership) Unacknowledged(ring uint32) []string {
	var missing []string
	for name, node := range m.config.Registry.Known().Nodes {
		if node.Live != nil && !m.acknowledged(name, ring) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

func (m *Membership) acknowledged(node string, ring uint32) bool {
	if node == m.config.Node {
		return m.ack().Ring == ring
	}
	member, _ := m.table.get(node)
	return member.Ack.Ring == ring // no ring has the id 0
}

// RingID is the digest by which nodes acknowledge a list of keys, its order
// included: the first is the one they encrypt with. It never returns 0.
func RingID(keys [][]byte) uint32 {
	sum := sha256.Sum256(bytes.Join(keys, nil))
	return max(1, binary.BigEndian.Uint32(sum[:]))
}

// ring is the set of keys this node has installed.
type ring struct {
	keys    [][]byte
	keyring *memberlist.Keyring
}

func newRing(keys [][]byte) (*ring, error) {
	keyring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return nil, fmt.Errorf("install gossip keys: %w", err)
	}
	return &ring{keys: keys, keyring: keyring}, nil
}

func (r *ring) id() uint32 { return RingID(r.keys) }

// install makes the keys the installed ones: new ones first, so that nothing
// a peer sends is unreadable for a moment, old ones last. Old ones are taken
// from the end, where memberlist's list does not shift under its readers.
func (r *ring) install(keys [][]byte) error {
	for _, key := range keys {
		if err := r.keyring.AddKey(key); err != nil {
			return fmt.Errorf("install gossip key: %w", err)
		}
	}
	if err := r.keyring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("use gossip key: %w", err)
	}
	for _, key := range slices.Backward(r.keyring.GetKeys()) {
		if slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			continue
		}
		if err := r.keyring.RemoveKey(key); err != nil {
			return fmt.Errorf("remove gossip key: %w", err)
		}
	}
	r.keys = keys
	return nil
}

// keepKeys installs the registry's keys until ctx ends, or until the
// registry is of another cluster.
func (m *Membership) keepKeys(ctx context.Context, r *ring, cluster string) error {
	for {
		changed := m.config.Registry.Changed()
		known := m.config.Registry.Known()
		if known.Cluster != "" && known.Cluster != cluster {
			return errOtherCluster
		}
		if len(known.Keys) > 0 && RingID(known.Keys) != r.id() {
			if err := r.install(known.Keys); err != nil {
				m.config.Log.Warn("gossip keys in etcd unusable: keeping the old", "err", err)
			} else {
				m.setRing(r.id())
				m.config.Log.Info("gossip keys changed", "keys", len(known.Keys))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (m *Membership) setRing(id uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ring = id
}
