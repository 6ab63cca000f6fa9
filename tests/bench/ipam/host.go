package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	client "gvlan/cluster/store/etcd"
	"gvlan/cluster/store/group"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/journal"
	"gvlan/driver/journal/disk"
	"gvlan/ipam"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// prefix is where the hosts' keys are in etcd.
const prefix = "/bench/gvlan"

// host is a node as the agent builds it, without a driver: a session and an
// allocator over a connection of its own, with its journal on the disk.
type host struct {
	*ipam.Allocator
	name    string
	store   *counted
	memory  *journal.Memory
	session *session.Session

	cancel context.CancelFunc
	work   sync.WaitGroup
	opened []io.Closer
}

// host starts a node, which opens its session by itself.
func (e *etcd) host(ctx context.Context, name string) (*host, error) {
	return e.hostOver(ctx, name, func(far store.Backend) store.Backend { return far })
}

// hostOver starts one with something between its session and the store.
func (e *etcd) hostOver(ctx context.Context, name string, over func(store.Backend) store.Backend) (_ *host, err error) {
	h := &host{name: name}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.closeAll())
		}
	}()
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	far, err := client.New(client.Config{Endpoints: []string{e.endpoint}, Prefix: prefix, Log: quiet})
	if err != nil {
		return nil, err
	}
	h.opened = append(h.opened, far)
	kept, err := disk.Open(filepath.Join(e.dir, name, "journal.db"), "boot", journal.Readable)
	if err != nil {
		return nil, err
	}
	h.opened = append(h.opened, kept)
	if h.memory, err = journal.Recall(kept); err != nil {
		return nil, err
	}
	h.store = &counted{Backend: far, node: name}
	id := session.Identity{Node: name, Install: "install of " + name, Boot: "boot", Host: name}
	h.session = session.New(over(h.store), id, &storetest.Past{}, quiet)
	trail, err := events.New(events.Config{Node: name, Keeper: kept.Bucket("events"), Now: time.Now, Log: quiet})
	if err != nil {
		return nil, err
	}
	h.Allocator = ipam.New(node.Config{KV: group.New(h.session), Self: h.session, Memory: h.memory, Events: trail, Log: quiet})
	ctx, h.cancel = context.WithCancel(ctx)
	for _, run := range []func(context.Context) error{h.session.Run, h.Run} {
		h.work.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrFenced) {
				fmt.Fprintf(os.Stderr, "host %s: %v\n", name, err)
			}
		})
	}
	h.work.Go(func() { trail.Run(ctx, h.session, h.session) })
	e.users = append(e.users, h.close)
	return h, nil
}

// lone is a network of a host that has etcd to itself, once it is mirrored. Raw
// writes are as long as its leases from then on.
func (e *etcd) lone(ctx context.Context) (*network, error) {
	h, err := e.host(ctx, "h1")
	if err != nil {
		return nil, err
	}
	n, err := h.network(ctx, "10.1.0.0/16", nil)
	if err != nil {
		return nil, err
	}
	if err := n.mirrored(ctx); err != nil {
		return nil, err
	}
	e.value = strings.Repeat("x", int(h.store.leaseBytes.Load()))
	return n, nil
}

// close ends the host, and says whether it wrote what it must not.
func (h *host) close() error {
	h.cancel()
	h.work.Wait()
	return errors.Join(h.store.fault(), h.closeAll())
}

func (h *host) closeAll() (err error) {
	for _, one := range h.opened {
		err = errors.Join(err, one.Close())
	}
	return err
}

// network opens a pool and joins a network to it.
func (h *host) network(ctx context.Context, subnet string, options map[string]string) (*network, error) {
	select {
	case <-h.session.Opened():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	reply, err := h.RequestPool(ctx, ipam.PoolRequest{Space: pool.LocalSpace, Pool: subnet, Options: options})
	if err != nil {
		return nil, fmt.Errorf("open a pool of %s: %w", subnet, err)
	}
	n := &network{h: h, id: id(), pool: reply.ID}
	return n, h.memory.Change(func(c *journal.Change) error {
		h.Attach(c, n.id, []pool.Data{{Space: pool.LocalSpace, Subnet: reply.Subnet}}, time.Now())
		return nil
	})
}

// network is one of a host's.
type network struct {
	h        *host
	id, pool string
}

// ask is what Docker asks at a container's start.
func (n *network) ask(ctx context.Context) (netip.Addr, error) {
	got, err := n.h.RequestAddress(ctx, ipam.AddressRequest{PoolID: n.pool})
	return got.Addr(), err
}

// release is what Docker asks at a container's stop.
func (n *network) release(ctx context.Context, addr netip.Addr) error {
	return n.h.ReleaseAddress(ctx, n.pool, addr.String())
}

// mirrored waits until an address costs one transaction and no reading: the
// mirror is there. A pool that has none by design is the allocator's to tell; it
// costs one transaction as well.
func (n *network) mirrored(ctx context.Context) error {
	for range 2000 {
		before, commits := n.h.store.rpcs(), n.h.store.commits.Load()
		addr, err := n.ask(ctx)
		if err != nil {
			return err
		}
		alone := n.h.store.rpcs()-before == 1 && n.h.store.commits.Load()-commits == 1
		if err := n.release(ctx, addr); err != nil {
			return err
		}
		if alone && n.h.store.watches.Load() > 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("no address ever costs one transaction alone: is there a mirror?")
}

// id is as an engine's: 64 hex digits.
func id() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return fmt.Sprintf("%x", raw)
}

// foreignLease is a record of a node that is not there.
func foreignLease(addr netip.Addr) (key, value string) {
	rec := store.Lease{State: store.Leased, Node: "elsewhere", Epoch: 1, Nonce: id()[:32], Network: "uuid", Endpoint: id(), Since: 1}
	return prefix + store.LeaseKey("default", addr), string(store.Encode(rec))
}

// occupy writes leases of others, spread over the subnet.
func (e *etcd) occupy(ctx context.Context, subnet netip.Prefix, percent int) error {
	var addrs []netip.Addr
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for addr := subnet.Addr().Next(); subnet.Contains(addr); addr = addr.Next() {
		if random.IntN(100) < percent {
			addrs = append(addrs, addr)
		}
	}
	return e.load(ctx, len(addrs), func(i int) (key, value string) { return foreignLease(addrs[i]) })
}
