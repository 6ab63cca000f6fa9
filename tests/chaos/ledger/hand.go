package ledger

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
)

// What a hand does to the store past every agent, which the rules are told of.

func (l *Ledger) with(ctx context.Context, do func(context.Context, *clientv3.Client) error) error {
	client, err := l.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return do(ctx, client)
}

// Vanish deletes a lease.
func (l *Ledger) Vanish(ctx context.Context, key string) error {
	l.mu.Lock()
	l.book.byHand[key] = true
	l.mu.Unlock()
	return l.with(ctx, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Delete(ctx, prefix+key)
		return err
	})
}

// CloseGate closes the gate as one would who found that the store lost its past.
func (l *Ledger) CloseGate(ctx context.Context) error {
	return l.with(ctx, func(ctx context.Context, c *clientv3.Client) error {
		gate := store.Gate{Round: fmt.Sprintf("by-hand-%d", l.now()), Node: "nobody", Why: "by hand", Since: 1}
		_, err := c.Put(ctx, prefix+store.GateKey(), string(store.Encode(gate)))
		return err
	})
}

// LoseLast has the store lose a node's last write. By names the node if it is to
// begin anew before it writes again; "": nobody may give anything before the gate
// is closed.
func (l *Ledger) LoseLast(ctx context.Context, node, by string) error {
	l.mu.Lock()
	l.book.losing[node] = by
	l.mu.Unlock()
	return l.with(ctx, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Delete(ctx, prefix+store.LastKey(node))
		return err
	})
}

// EndCaution ends the time in which the LAN is asked before an address is given.
func (l *Ledger) EndCaution(ctx context.Context) error {
	return l.with(ctx, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Delete(ctx, prefix+store.CautionKey())
		return err
	})
}
