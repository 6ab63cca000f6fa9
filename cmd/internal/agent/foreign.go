package agent

import (
	"context"
	"errors"
	"fmt"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
)

// settleName decides, for an install that took another one's node name,
// whether it is that node: it is where nothing is left of the node, and where
// this host's engine has one of the node's endpoints, whose ids are random and
// of one engine. Everything else is left to `gvlan recover`, because a host
// that was copied would free what its elder's containers use.
func (p *parts) settleName(ctx context.Context) error {
	for store.Sleep(ctx, suspectLook) {
		if !errors.Is(p.session.Trusted(), store.ErrForeign) {
			continue
		}
		ours, err := p.isThatNode(ctx)
		if err == nil && ours {
			err = p.session.Settle()
		}
		if err != nil {
			p.log.Warn("whether this host is the node of its name is not known yet: nothing is written under it", "node", p.self.Node, "err", err)
		}
	}
	return nil
}

// isThatNode reports whether this host is certainly the node whose name it has.
func (p *parts) isThatNode(ctx context.Context) (bool, error) {
	endpoints, err := listAll[store.Endpoint](ctx, p.session, store.NodeEndpointsSpan(p.self.Node))
	if err != nil {
		return false, err
	}
	here, err := p.driver.EngineEndpoints(ctx)
	if err != nil {
		return false, err
	}
	for _, e := range endpoints {
		if here[e.Endpoint] {
			return true, nil
		}
	}
	if len(endpoints) > 0 {
		return false, nil
	}
	leases, err := listAll[store.Lease](ctx, p.session, store.AllLeasesSpan())
	if err != nil {
		return false, err
	}
	for _, l := range leases {
		if l.Node == p.self.Node && l.State == store.Leased {
			return false, nil
		}
	}
	return true, nil
}

// claimJournal refuses a journal of another node: what it holds belongs to
// that one, which may live, and a release from it would be taken for its own.
// One that no store was opened with yet holds nothing: its node's name was
// another's, and the node was given a name of its own.
func (p past) claimJournal(node, dataDir string) error {
	had, err := p.bucket.Get("node")
	if err != nil && !errors.Is(err, journal.ErrAbsent) {
		return err
	}
	if string(had) == node {
		return nil
	}
	known, err := p.LoadPast()
	if err != nil {
		return err
	}
	if len(had) > 0 && known.Cluster != "" {
		return fmt.Errorf("--data-dir %s is node %s's, and this agent is node %s: give it an empty folder if this host was copied from that one, or --node-name %s if it is that one",
			dataDir, had, node, had)
	}
	return p.bucket.Put("node", []byte(node))
}
