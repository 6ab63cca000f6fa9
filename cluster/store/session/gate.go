package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"gvlan/cluster/store"
)

// gateState is what a session knows of the cluster's gate.
type gateState struct {
	gate     store.Gate
	at       store.Revision // the gate was last modified at; 0: it is open
	seen     store.Revision // gate and at are true of it, or of a later one
	recovery store.Recovery
	caution  bool
	// reasserted is the round in which this node wrote what it holds again.
	reasserted string
}

// apply takes over one record.
func (g *gateState) apply(it store.Item, deleted bool) (err error) {
	switch it.Key {
	case store.GateKey():
		g.at = 0
		if !deleted {
			g.at = it.Modified
			g.gate, err = store.Decode[store.Gate](it)
		}
	case store.CautionKey():
		g.caution = !deleted
	case store.RecoveryKey():
		g.recovery = store.Recovery{}
		if !deleted {
			g.recovery, err = store.Decode[store.Recovery](it)
		}
	}
	return err
}

// why is why nothing is given while the gate is closed.
func (g *gateState) why() error {
	if g.at == 0 {
		return nil
	}
	return fmt.Errorf("%w: node %s found that %s", store.ErrSuspect, g.gate.Node, g.gate.Why)
}

// follow applies a change that a Follow of the gate reports. A transaction of
// this node's own may have shown more of the gate than the Follow has.
func (g *gateState) follow(c store.Change) (failed error) {
	known := *g
	if c.Reset {
		*g = gateState{reasserted: known.reasserted}
		for _, it := range c.Items {
			failed = errors.Join(failed, g.apply(it, false))
		}
	}
	for _, e := range c.Events {
		if e.Item.Key != store.GateKey() || e.At > known.seen {
			failed = errors.Join(failed, g.apply(e.Item, e.Deleted))
		}
	}
	g.seen = c.Revision
	if c.Revision < known.seen {
		g.gate, g.at, g.seen = known.gate, known.at, known.seen
	}
	return failed
}

// CloseGate closes the gate of a store that somebody made anew of an older copy,
// before anybody else finds it: what is lost may be the writes of nodes that are
// not there to miss them.
func CloseGate(ctx context.Context, kv store.KV, node, why string) error {
	gate, err := newGate(node, why)
	if err == nil {
		_, err = kv.Commit(ctx, store.Txn{Then: []store.Op{store.Put(store.GateKey(), store.Encode(gate))}})
	}
	if err != nil {
		return fmt.Errorf("close the cluster's gate: %w", err)
	}
	return nil
}

// newGate is a gate of a round of its own.
func newGate(node, why string) (store.Gate, error) {
	round, err := uuid.NewRandom()
	if err != nil {
		return store.Gate{}, fmt.Errorf("name a recovery: %w", err)
	}
	return store.Gate{Round: round.String(), Node: node, Why: why, Since: time.Now().Unix()}, nil
}
