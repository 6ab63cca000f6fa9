package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
)

// Grant implements Leaser.
func (e *Client) Grant(ctx context.Context, ttl int64) (store.LeaseID, error) {
	var id store.LeaseID
	// A grant whose answer is lost leaves a lease that expires unused.
	err := e.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.Grant(ctx, ttl)
		if err == nil {
			id = store.LeaseID(resp.ID)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("grant a lease: %w", err)
	}
	return id, nil
}

// KeepAlive implements Leaser. It renews three times in each TTL.
func (e *Client) KeepAlive(ctx context.Context, id store.LeaseID, renewed func(store.Revision)) error {
	for ctx.Err() == nil {
		var ttl time.Duration
		var rev store.Revision
		err := e.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
			resp, err := client.KeepAliveOnce(ctx, clientv3.LeaseID(id))
			if err == nil {
				ttl, rev = time.Duration(resp.TTL)*time.Second, store.Revision(resp.ResponseHeader.GetRevision())
			}
			return err
		})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("keep lease %x alive: %w", int64(id), err)
		}
		if err == nil {
			renewed(rev)
		}
		store.Sleep(ctx, ttl/3)
	}
	return nil
}

// Revoke implements Leaser.
func (e *Client) Revoke(ctx context.Context, id store.LeaseID) error {
	err := e.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.Revoke(ctx, clientv3.LeaseID(id))
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("revoke lease %x: %w", int64(id), err)
	}
	return nil
}
