package fixed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/visible"
	"gvlan/ipam/fixed"
	"gvlan/ipam/reserve"
)

// wish is one address that an endpoint is to have. One goroutine looks after it.
type wish struct {
	fixed.Wish
	k        *Keeper
	prefix   netip.Prefix
	failover time.Duration
	poke     chan struct{}

	announced int           // since the address was put into the sandbox
	tried     time.Duration // the last pause before another look at a sandbox that is being made
	missed    time.Duration // the last pause before an address is tried again that is free by all that is known
	asked     time.Time     // when the LAN was last asked for the address of a host that is away
	had       bool          // it had the address at the last look
	clean     bool          // it does not have it, and the sandbox neither
	freed     bool          // it was seen that its holder gave it up: nobody else on the LAN has it
	aside     time.Time     // until when others who wait longer may take what is free
	silent    time.Time     // since when the holder's node is away and the LAN silent; zero: not
	answered  time.Time     // when the store last said that this endpoint has it
	shelved   bool          // it has it, and the sandbox not: this host is cut off

	follow context.CancelFunc // ends the following of the lease's key; nil: it is not followed

	inside sync.Mutex // held while the address goes into the sandbox, or out of it for good

	mu   sync.Mutex
	seen seen
	why  string // who has it instead, "" for nobody
	odd  bool
}

// seen is the lease's key as it was last seen.
type seen struct {
	known bool
	item  store.Item // zero: absent
}

func (k *Keeper) newWish(n journal.Network, e journal.Endpoint, p netip.Prefix) *wish {
	return &wish{
		Wish: fixed.Wish{Network: n.ID, Endpoint: e.ID, At: at(n, p)},
		k:    k, prefix: p, failover: e.Failover, poke: make(chan struct{}, 1),
	}
}

const (
	// stepAside is how long each of those who wait longer is given to take what is
	// free.
	stepAside = 2 * time.Second
	// announceTimes and announceEvery are as for addresses that Docker puts in.
	announceTimes = 3
	announceEvery = time.Second
	// soon and later bound the pause between two looks at a sandbox that is being
	// made: the engine puts the interface in after Join on old engines.
	soon  = 20 * time.Millisecond
	later = 2 * time.Second
)

// keep looks after the wish until ctx ends, which leaves all as it is.
func (w *wish) keep(ctx context.Context) {
	defer w.stopFollowing()
	for {
		next := w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-w.poke:
		case <-w.liveChanged():
		case <-time.After(next):
		}
	}
}

// liveChanged is of interest to who waits for a host's death.
func (w *wish) liveChanged() <-chan struct{} {
	if w.failover == 0 || w.had {
		return nil
	}
	return w.k.Tables.Live.Changed()
}

// look does what is to be done now, and returns when to look again if nothing
// happens before.
func (w *wish) look(ctx context.Context) time.Duration {
	e, known := w.k.Memory.Endpoint(w.Endpoint)
	if !known || e.Sandbox == "" {
		return host.ResyncEvery // it is over, and whoever ends it says so
	}
	has := w.k.claims.Has(w.Wish)
	if has != w.had {
		w.had, w.shelved = has, false
		w.k.publish(ctx, w.Endpoint)
	}
	if has {
		w.waits("", false)
		return w.hold(ctx, e)
	}
	if next, done := w.withdraw(e); !done {
		return next
	}
	return w.wait(ctx)
}

// hold sees that the sandbox has the address, and that neighbours know of it.
func (w *wish) hold(ctx context.Context, e journal.Endpoint) time.Duration {
	w.stopFollowing()
	w.silent, w.clean = time.Time{}, false
	if next, ok := w.guard(ctx, e); !ok {
		return next
	}
	given, err := w.give(e)
	switch {
	case errors.Is(err, errLost):
		return 0
	case err == nil:
		w.tried = 0
	case errors.Is(err, link.ErrNotFound) || isComing(err):
		return w.again() // the engine is at it
	default:
		w.k.Log.Warn("a fixed address cannot be put into its container: tried again", "address", w.At.Addr, "endpoint", visible.ID(w.Endpoint), "err", err)
		return later
	}
	if given {
		w.announced = 0
		w.k.Log.Info("a container has its fixed address", "address", w.At.Addr, "endpoint", visible.ID(w.Endpoint))
	}
	if w.announced < announceTimes {
		w.announced++
		if err := w.k.announce(e, w.At.Addr); err != nil {
			w.k.Log.Debug("a fixed address is not announced on the LAN", "address", w.At.Addr, "err", err)
		}
		return announceEvery
	}
	if w.failover != 0 {
		return w.failover / 6
	}
	return host.ResyncEvery
}

// isComing reports whether a sandbox is not made yet: old engines name it first, and
// then have an empty file there.
func isComing(err error) bool {
	return errors.Is(err, netns.ErrNotNamespace) || errors.Is(err, fs.ErrNotExist)
}

// errLost: the address went to somebody else while this one looked.
var errLost = errors.New("it is not this endpoint's any more")

// give puts the address into the sandbox, if it is the endpoint's at that moment.
func (w *wish) give(e journal.Endpoint) (given bool, err error) {
	w.inside.Lock()
	defer w.inside.Unlock()
	if !w.k.claims.Has(w.Wish) {
		return false, errLost
	}
	return w.k.give(e, w.prefix)
}

// again is the pause before another look at what is being made.
func (w *wish) again() time.Duration {
	w.tried = min(max(soon, 2*w.tried), later)
	return w.tried
}

// guard takes an address with a failover out of the sandbox while this host
// reaches neither the store nor anybody on the LAN: then others may take it over,
// and this host could not know, and would answer as soon as its cable is back.
// It is put in again when the store says that it is still this endpoint's.
func (w *wish) guard(ctx context.Context, e journal.Endpoint) (next time.Duration, ok bool) {
	if w.failover == 0 {
		return 0, true
	}
	next = w.failover / 6
	now := w.k.Now()
	ours, err := w.k.claims.IsOurs(ctx, w.Wish)
	switch {
	case err == nil && !ours:
		return next, false // it is compared, and given up
	case err == nil:
		w.answered, w.shelved = now, false
		return 0, true
	case w.answered.IsZero():
		w.answered = now // an agent that has started anew knows of no earlier answer
	}
	if w.shelved || now.Sub(w.answered) < w.failover/2 {
		return next, !w.shelved
	}
	if heard, err := w.k.hears(ctx, w.Network, ""); heard || ctx.Err() != nil {
		return next, true
	} else if err != nil {
		w.k.Log.Debug("the LAN cannot be asked", "err", err)
	}
	if err := w.k.take(e, w.At.Addr); err != nil {
		w.k.Log.Error("a fixed address cannot be taken out of its container, and this host is cut off: another one may take it over", "address", w.At.Addr, "endpoint", visible.ID(w.Endpoint), "err", err)
		return next, false
	}
	w.shelved = true
	w.k.Log.Warn("this host reaches neither etcd nor anybody on the LAN: a fixed address with a failover is taken out of its container until etcd says whose it is", "address", w.At.Addr, "endpoint", visible.ID(w.Endpoint))
	return next, false
}

// withdraw sees that the sandbox does not have an address that is not the
// endpoint's.
func (w *wish) withdraw(e journal.Endpoint) (next time.Duration, done bool) {
	if w.clean {
		return 0, true
	}
	err := w.k.take(e, w.At.Addr)
	switch {
	case err == nil:
		w.clean, w.tried = true, 0
		return 0, true
	case isComing(err):
		return 0, true // it has nothing
	}
	w.k.Log.Warn("an address that is not a container's any more cannot be taken out of it: tried again", "address", w.At.Addr, "endpoint", visible.ID(w.Endpoint), "err", err)
	return w.again(), false
}

// wait stands in line, and takes the address when it is free.
func (w *wish) wait(ctx context.Context) time.Duration {
	if w.k.Self.Trusted() != nil {
		w.waits("etcd does not answer", false)
		return later
	}
	now := w.now()
	ahead := w.k.Line.Ahead(w.At, w.Endpoint, w.k.connected)
	switch {
	case !now.known && (ahead > 0 || w.follow != nil):
		w.startFollowing(ctx)
		return host.ResyncEvery // what is listed comes soon, and is looked at then
	case now.item.Created != 0:
		return w.behind(ctx, now.item, ahead)
	}
	if left := w.stepsAside(ahead); left > 0 {
		return left
	}
	if !w.freed {
		if err := w.k.Addresses.CheckUnused(ctx, w.Network, w.At); err != nil && ctx.Err() == nil {
			w.waits(err.Error(), true)
			return host.ResyncEvery
		}
	}
	has, err := w.k.claims.Take(ctx, w.Wish)
	switch {
	case ctx.Err() != nil:
		return 0
	case isReserved(err):
		if e, _ := w.k.Memory.Endpoint(w.Endpoint); e.Container.ID == "" {
			return later // whose it is the engine says soon
		}
		w.waits(err.Error(), true)
		return host.ResyncEvery
	case err != nil:
		w.waits(err.Error(), true)
		w.k.Log.Warn("a fixed address cannot be taken now: tried again", "address", w.At.Addr, "endpoint", visible.ID(w.Endpoint), "err", err)
		return later
	case has:
		w.forget()
		w.freed, w.missed = false, 0
		host.Tell(w.poke)
		return 0
	}
	if w.follow == nil {
		w.startFollowing(ctx)
		return host.ResyncEvery
	}
	// Who follows the key hears of who has it by now. Where nobody has, this host
	// itself is about to give it back, which its key does not show.
	w.missed = min(max(soon, 2*w.missed), host.ResyncEvery)
	return w.missed
}

func isReserved(err error) bool {
	_, is := errors.AsType[reserve.Refused](err)
	return is
}

// stepsAside is how long those who wait longer still have to take what is free:
// one who does not is passed over.
func (w *wish) stepsAside(ahead int) time.Duration {
	now := w.k.Now()
	if ahead == 0 {
		w.aside = time.Time{}
		return 0
	}
	if w.aside.IsZero() {
		w.aside = now.Add(time.Duration(ahead) * stepAside)
	}
	return w.aside.Sub(now)
}

// behind waits for somebody else's address to be free.
func (w *wish) behind(ctx context.Context, it store.Item, ahead int) time.Duration {
	w.aside, w.freed, w.missed = time.Time{}, false, 0
	rec, err := store.Decode[store.Lease](it)
	if err != nil {
		w.waits("its record cannot be read: a newer gvlan wrote it", true)
		return host.ResyncEvery
	}
	w.freed = rec.State == store.Leased // of what else keeps it the LAN may know
	if w.failover == 0 || ahead > 0 || rec.Node == "" || rec.Node == w.k.Self.Node() || rec.State == store.Reserved || w.k.connected(rec.Node) {
		w.silent = time.Time{}
		w.waitsBehind(ctx, rec)
		return host.ResyncEvery
	}
	return w.takeOver(ctx, it, rec)
}

// waitsBehind notes who has the address.
func (w *wish) waitsBehind(ctx context.Context, rec store.Lease) {
	w.waits(w.k.Addresses.Holder(ctx, w.At.Addr, rec), rec.Kind != store.Service || rec.State != store.Leased)
}

// takeOver frees the address of a host that is not connected, once the LAN was
// silent about it for long enough.
func (w *wish) takeOver(ctx context.Context, it store.Item, rec store.Lease) time.Duration {
	next := w.failover / 6
	if w.k.claims.Ask == nil {
		w.waitsBehind(ctx, rec)
		return host.ResyncEvery
	}
	asked := w.k.Now()
	due := w.asked.Add(next)
	if end := w.silent.Add(w.failover); !w.silent.IsZero() && end.Before(due) {
		due = end
	}
	if asked.Before(due) {
		return due.Sub(asked) // many hosts may come and go at once
	}
	w.asked = asked
	answering, err := w.k.claims.Ask(ctx, w.Network, []netip.Addr{w.At.Addr})
	heard := false
	if err == nil && len(answering) == 0 {
		if heard, err = w.k.hears(ctx, w.Network, rec.Node); err == nil && !heard {
			err = errNoLAN
		}
	}
	switch {
	case ctx.Err() != nil:
		return 0
	case err != nil:
		w.silent = time.Time{}
		w.waits(fmt.Sprintf("its host is away, and whether it still answers is not known: %v", err), true)
		return next
	case len(answering) > 0:
		w.silent = time.Time{}
		w.waitsBehind(ctx, rec)
		return next
	case w.silent.IsZero():
		w.silent = asked
	}
	w.waitsBehind(ctx, rec)
	if left := w.failover - w.k.Now().Sub(w.silent); left > 0 {
		return min(next, left)
	}
	freed, err := w.k.claims.Free(ctx, w.At, it)
	if err != nil {
		w.k.Log.Warn("a fixed address cannot be taken over: tried again", "address", w.At.Addr, "err", err)
		return next
	}
	w.silent = time.Time{}
	if freed {
		w.k.Log.Warn("took a fixed address over: its host is away, and the LAN was silent about it", "address", w.At.Addr, "node", rec.Node, "for", w.failover)
		w.isFree(it)
		host.Tell(w.poke)
	}
	return next
}

// isFree notes that the lease's key is gone, if it was last seen as it is here.
func (w *wish) isFree(it store.Item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen.item.Modified == it.Modified {
		w.seen = seen{known: true}
	}
}

// startFollowing has every change of the lease's key looked at.
func (w *wish) startFollowing(ctx context.Context) {
	if w.follow != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	w.follow = func() { cancel(); <-done }
	key := w.At.Key()
	go func() {
		defer close(done)
		for {
			err := store.Follow(ctx, w.k.Cfg.KV, store.Span{From: key, To: key + "\x00"}, w.apply)
			if err == nil || ctx.Err() != nil {
				return
			}
			w.k.Log.Warn("who has a fixed address is not followed: it is tried now and then", "address", w.At.Addr, "err", err)
			w.see(seen{known: true})
			store.Sleep(ctx, host.ResyncEvery)
		}
	}()
}

func (w *wish) stopFollowing() {
	if w.follow != nil {
		w.follow()
		w.follow = nil
	}
	w.forget()
}

// apply takes what store.Follow reports of the lease's key.
func (w *wish) apply(c store.Change) {
	w.mu.Lock()
	changed := c.Reset
	if c.Reset {
		w.seen = seen{known: true}
	}
	for _, it := range c.Items {
		w.seen.item = it
	}
	for _, ev := range c.Events {
		w.seen, changed = seen{known: true, item: ev.Item}, true
		if ev.Deleted {
			w.seen.item = store.Item{}
		}
	}
	w.mu.Unlock()
	if changed {
		host.Tell(w.poke)
	}
}

func (w *wish) now() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// forget has the key looked at anew.
func (w *wish) forget() { w.see(seen{}) }

func (w *wish) see(it seen) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = it
}

// waits notes who has the address, "" for nobody but this endpoint, and says so
// when it is news.
func (w *wish) waits(why string, odd bool) {
	w.mu.Lock()
	news := why != w.why
	w.why, w.odd = why, odd
	w.mu.Unlock()
	switch {
	case !news || why == "":
	case odd:
		w.k.Log.Warn("a container waits for its fixed address", "address", w.At.Addr, "endpoint", visible.ID(w.Endpoint), "why", why)
	default:
		w.k.Log.Info("a container waits for its fixed address", "address", w.At.Addr, "endpoint", visible.ID(w.Endpoint), "why", why)
	}
}

func (w *wish) waitsFor() (why string, odd bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why, w.odd
}
