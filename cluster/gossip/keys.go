package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gvlan/cluster/store"
)

// keySize selects AES-256.
const keySize = 32

// EnsureKeys makes the cluster's first gossip key unless there is one.
// Whoever commits first wins; the others find the key. random is a source of
// cryptographic randomness.
func EnsureKeys(ctx context.Context, kv store.KV, random io.Reader) error {
	_, err := kv.Get(ctx, store.GossipKeysKey())
	if err == nil {
		return nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read gossip keys: %w", err)
	}
	key, err := newKey(random)
	if err != nil {
		return err
	}
	_, err = kv.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Absent(store.GossipKeysKey())},
		Then: []store.Op{store.Put(store.GossipKeysKey(), store.Encode(store.GossipKeys{Keys: [][]byte{key}}))},
	})
	if err != nil {
		return fmt.Errorf("write the first gossip key: %w", err)
	}
	return nil
}

func newKey(random io.Reader) ([]byte, error) {
	key := make([]byte, keySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, fmt.Errorf("make a gossip key: %w", err)
	}
	return key, nil
}

// ackEvery is how often a rotation looks whether everybody acknowledged.
const ackEvery = time.Second

// Rotation replaces the cluster's gossip key while the gossip goes on: the
// new key is added, used, and the old one removed, and before each of the
// next steps every connected node has acknowledged the last. A direct probe
// carries the acknowledgement, so a step takes about as many seconds as
// there are nodes.
type Rotation struct {
	KV store.KV
	// Unacknowledged names the connected nodes that do not have a ring of
	// keys installed; Membership.Unacknowledged.
	Unacknowledged func(ring uint32) []string
	Random         io.Reader // cryptographic
	// Progress hears of every step, and again while nodes are missing; nil:
	// nobody does.
	Progress func(step string, missing []string)
}

// Run rotates. When it ends early the keys in use stay in use, and the next
// Run first brings the last to its end.
func (r Rotation) Run(ctx context.Context) error {
	item, record, err := r.read(ctx)
	if err != nil {
		return err
	}
	step := func(name string, keys ...[]byte) error {
		record.Keys = keys
		item, err = r.step(ctx, item, name, record)
		return err
	}
	keys := record.Keys
	if len(keys) > 1 {
		if err := r.await(ctx, "finish the rotation before", keys); err != nil {
			return err
		}
		if err := step("remove the spare key", keys[0]); err != nil {
			return err
		}
	}
	old := keys[0]
	fresh, err := newKey(r.Random)
	if err != nil {
		return err
	}
	for _, s := range []struct {
		name string
		keys [][]byte
	}{
		{"add the new key", [][]byte{old, fresh}},
		{"use the new key", [][]byte{fresh, old}},
		{"remove the old key", [][]byte{fresh}},
	} {
		if err := step(s.name, s.keys...); err != nil {
			return err
		}
	}
	return nil
}

func (r Rotation) read(ctx context.Context) (store.Item, store.GossipKeys, error) {
	item, err := r.KV.Get(ctx, store.GossipKeysKey())
	if err != nil {
		return item, store.GossipKeys{}, fmt.Errorf("read gossip keys: %w", err)
	}
	record, err := store.Decode[store.GossipKeys](item)
	if err == nil && len(record.Keys) == 0 {
		err = errors.New("rotate gossip keys: the store holds none")
	}
	return item, record, err
}

// step writes one list of keys and waits until everybody has it.
func (r Rotation) step(ctx context.Context, last store.Item, name string, record store.GossipKeys) (store.Item, error) {
	res, err := r.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(last.Key, last.Modified)},
		Then: []store.Op{store.Put(last.Key, store.Encode(record))},
	})
	if err != nil {
		return last, fmt.Errorf("%s: %w", name, err)
	}
	if !res.Done {
		return last, fmt.Errorf("%s: somebody else changes the gossip keys at the same time", name)
	}
	last.Modified = res.Revision
	return last, r.await(ctx, name, record.Keys)
}

// await waits until every connected node has installed the keys.
func (r Rotation) await(ctx context.Context, step string, keys [][]byte) error {
	tick := time.NewTicker(ackEvery)
	defer tick.Stop()
	for {
		missing := r.Unacknowledged(RingID(keys))
		if r.Progress != nil {
			r.Progress(step, missing)
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: still waiting for %s: %w", step, strings.Join(missing, ", "), ctx.Err())
		case <-tick.C:
		}
	}
}
