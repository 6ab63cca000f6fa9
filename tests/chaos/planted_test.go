package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/tests/chaos/cluster"
	"gvlan/tests/chaos/history"
)

// pool is an address manager that keeps all of a pool under one key: it reads,
// changes what it read, reads again to compare, and writes. That is how
// widespread ones do it. With swap the comparison is etcd's own, and right.
type pool struct {
	etcd *clientv3.Client
	swap bool
}

const poolKey = "/planted"

var errAgain = errors.New("somebody else was quicker")

// change writes what became of the pool, if it is as it was.
func (p pool) change(ctx context.Context, change func(taken map[string]bool) error) error {
	before, err := p.etcd.Get(ctx, poolKey)
	if err != nil {
		return err
	}
	taken, at := map[string]bool{}, int64(0)
	if len(before.Kvs) > 0 {
		at = before.Kvs[0].ModRevision
		if err := json.Unmarshal(before.Kvs[0].Value, &taken); err != nil {
			return err
		}
	}
	if err := change(taken); err != nil {
		return err
	}
	after, err := json.Marshal(taken)
	if err != nil {
		return err
	}
	if p.swap {
		res, err := p.etcd.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(poolKey), "=", at)).Then(clientv3.OpPut(poolKey, string(after))).Commit()
		if err == nil && !res.Succeeded {
			err = errAgain
		}
		return err
	}
	now, err := p.etcd.Get(ctx, poolKey)
	if err != nil {
		return err
	}
	if len(now.Kvs) != len(before.Kvs) || len(now.Kvs) > 0 && now.Kvs[0].ModRevision != at {
		return errAgain
	}
	_, err = p.etcd.Put(ctx, poolKey, string(after))
	return err
}

func (p pool) take(ctx context.Context) (addr netip.Addr, err error) {
	err = p.untilDone(ctx, func(taken map[string]bool) error {
		for addr = netip.MustParseAddr("10.9.0.1"); taken[addr.String()]; {
			addr = addr.Next()
		}
		taken[addr.String()] = true
		return nil
	})
	return addr, err
}

func (p pool) give(ctx context.Context, addr netip.Addr) error {
	return p.untilDone(ctx, func(taken map[string]bool) error {
		delete(taken, addr.String())
		return nil
	})
}

func (p pool) untilDone(ctx context.Context, change func(map[string]bool) error) error {
	for {
		if err := p.change(ctx, change); !errors.Is(err, errAgain) {
			return err
		}
	}
}

// TestPlanted: the judges find the lost update of an address manager that
// compares in memory, and nothing in one that has etcd compare.
func TestPlanted(t *testing.T) {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	binary, err := cluster.BuildEtcd(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	etcd, err := cluster.StartEtcd(t.Context(), binary, dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Kill()
	client, err := etcd.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, swap := range []bool{false, true} {
		if _, err := client.Delete(t.Context(), poolKey); err != nil {
			t.Fatal(err)
		}
		lives := livesOf(t, pool{client, swap}, !swap)
		overlaps, registers := history.Overlaps(lives), history.Registers(lives)
		t.Logf("etcd compares: %t: %d containers, %d overlaps, %d registers broken", swap, len(lives), len(overlaps), len(registers))
		if swap && len(overlaps)+len(registers) > 0 {
			t.Errorf("found where there is nothing: %v %v", overlaps, registers)
		}
		if !swap && (len(overlaps) == 0 || len(registers) == 0) {
			t.Errorf("the lost update is not found: overlaps %d, registers %d", len(overlaps), len(registers))
		}
	}
}

// livesOf has eight clients take addresses, keep them for a moment and give them
// back: so many times, or until two had one at once.
func livesOf(t *testing.T, p pool, untilFound bool) []history.Life {
	book := history.NewBook()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for round := 0; ctx.Err() == nil && (untilFound || round < 10); round++ {
				p.life(ctx, t, book)
				if untilFound && len(history.Overlaps(book.All())) > 0 {
					return
				}
			}
		})
	}
	all.Wait()
	return book.All()
}

// life takes one address and gives it back.
func (p pool) life(ctx context.Context, t *testing.T, book *history.Book) {
	life := book.Begin(history.Life{Host: "planted", Endpoint: "planted"})
	request := history.Call{Began: book.Now()}
	addr, err := p.take(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	request.Ended, request.Outcome = book.Now(), history.OK
	bind := history.Call{Began: request.Ended, Ended: request.Ended, Outcome: history.OK}
	book.Change(life, func(l *history.Life) { l.Address, l.Request, l.Bind = addr, request, bind })
	time.Sleep(5 * time.Millisecond)
	end := history.Call{Began: book.Now(), Outcome: history.OK}
	book.Change(life, func(l *history.Life) { l.End = end })
	if err := p.give(ctx, addr); err != nil {
		t.Error(err)
	}
}
