package events

import (
	"context"
	"slices"
	"time"

	"gvlan/cluster/store"
)

// gatekeeper tells when this node closed the cluster's gate or opened it. What the
// store says of it stays there, so what was told already, maybe by the agent
// before, is known by its time.
type gatekeeper struct{ recorder *Recorder }

// run follows the gate until ctx ends. An error means that the store refuses to
// be read.
func (g gatekeeper) run(ctx context.Context, kv store.KV) error {
	return store.Follow(ctx, kv, store.RecoverySpan(), func(c store.Change) {
		for _, it := range c.Items {
			g.see(it)
		}
		for _, ev := range c.Events {
			if !ev.Deleted {
				g.see(ev.Item)
			}
		}
	})
}

func (g gatekeeper) see(it store.Item) {
	switch it.Key {
	case store.GateKey():
		if gate, err := store.Decode[store.Gate](it); err == nil && gate.Node == g.recorder.node {
			g.tell(Event{Kind: GateClosed, Time: time.Unix(gate.Since, 0), Text: gate.Why})
		}
	case store.RecoveryKey():
		if done, err := store.Decode[store.Recovery](it); err == nil && done.Node == g.recorder.node {
			g.tell(Event{Kind: GateOpened, Time: time.Unix(done.Since, 0), Text: "the recovery is over"})
		}
	}
}

func (g gatekeeper) tell(e Event) {
	known := func(o Event) bool { return o.Kind == e.Kind && o.Time.Equal(e.Time) }
	if g.recorder.now().Sub(e.Time) < day && !slices.ContainsFunc(g.recorder.Own(), known) {
		g.recorder.Tell(e)
	}
}
