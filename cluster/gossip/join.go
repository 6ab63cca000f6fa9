package gossip

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/store"

	"github.com/hashicorp/memberlist"
)

// originWait is how long a start waits for etcd before it turns to the cache.
const originWait = 5 * time.Second

// awaitStart returns what etcd says as soon as it says enough, or what the
// cache remembers of that cluster when etcd stays silent. The error is that
// of ctx.
func (m *Membership) awaitStart(ctx context.Context) (origin, error) {
	patience := time.After(originWait)
	for {
		changed := m.config.Registry.Changed()
		known := m.config.Registry.Known()
		if start := originOf(known); start.usable() {
			return start, nil
		}
		select {
		case <-ctx.Done():
			return origin{}, ctx.Err()
		case <-changed:
		case <-patience:
			cached, err := m.cache.read()
			if err != nil {
				m.config.Log.Warn("remembered peers unreadable: waiting for etcd", "err", err)
			}
			if cached.usable() && (known.Cluster == "" || known.Cluster == cached.Cluster) {
				m.config.Log.Warn("etcd unreachable: membership starts with the remembered peers", "peers", len(cached.Peers))
				return cached, nil
			}
		}
	}
}

const (
	// joinAtOnce is how many peers are joined in one round: enough that a
	// dead one does not matter, few enough that a rack which boots together
	// does not storm.
	joinAtOnce = 3
	// formEvery is the pause between rounds while the node is new, formFor
	// how long it counts as new at most.
	formEvery = 2 * time.Second
	formFor   = 60 * time.Second
	// rejoinEvery is the pause afterwards. Of N members each calls a missing
	// one with the chance rejoinCalls/N, so that about rejoinCalls do. More
	// would do harm: a host that stalls hands each caller its stale
	// suspicions, and every caller counts as one more witness to them.
	rejoinEvery = 15 * time.Second
	rejoinCalls = 2
)

// keepJoined joins peers until ctx ends: three known ones and the given at
// the start, from then on known ones that are missing, and the given again
// for as long as nobody answers. memberlist forgets dead peers and never
// looks for them again, so that without this a partition of a minute would
// last for ever.
func (m *Membership) keepJoined(ctx context.Context, list *memberlist.Memberlist, start origin) {
	m.join(ctx, list, m.pick(start.Peers))
	m.join(ctx, list, m.given(ctx))
	m.remember()
	forming, began := true, time.Now()
	for {
		pause := rejoinEvery
		if forming {
			pause = formEvery
		}
		if !store.Sleep(ctx, m.jitter(pause)) {
			return
		}
		missing := m.missing(m.config.Registry.Known().seeds())
		forming = forming && len(missing) > 0 && time.Since(began) < formFor
		if !forming {
			missing = m.chosen(missing)
		}
		m.join(ctx, list, m.pick(missing))
		if m.table.count() == 1 {
			m.join(ctx, list, m.given(ctx))
		}
		m.remember()
	}
}

// chosen leaves each seed in with the chance that makes this node one of its
// rejoinCalls callers.
func (m *Membership) chosen(seeds []Seed) []Seed {
	members := m.table.count()
	return slices.DeleteFunc(seeds, func(Seed) bool { return m.random(members) >= rejoinCalls })
}

// remember keeps what etcd says for a boot while it is down.
func (m *Membership) remember() {
	if err := m.cache.write(originOf(m.config.Registry.Known())); err != nil {
		m.config.Log.Warn("peers not remembered: the next start waits for etcd", "err", err)
	}
}

// jitter spreads a pause over its last tenth.
func (m *Membership) jitter(pause time.Duration) time.Duration {
	return pause - time.Duration(m.random(int(pause/10)))
}

// missing returns the seeds that do not answer and are not this node.
func (m *Membership) missing(seeds []Seed) []Seed {
	return slices.DeleteFunc(seeds, func(s Seed) bool {
		member, ok := m.table.get(s.Node)
		return s.Node == m.config.Node || ok && member.Standing == Alive
	})
}

// pick chooses joinAtOnce of the seeds.
func (m *Membership) pick(seeds []Seed) []Seed {
	seeds = m.missing(slices.Clone(seeds))
	for i := range min(joinAtOnce, len(seeds)) {
		j := i + m.random(len(seeds)-i)
		seeds[i], seeds[j] = seeds[j], seeds[i]
	}
	return seeds[:min(joinAtOnce, len(seeds))]
}

// join opens a stream to each seed at once and exchanges member lists. That
// some fail is normal: there is a next round.
func (m *Membership) join(ctx context.Context, list *memberlist.Memberlist, seeds []Seed) {
	var wg sync.WaitGroup
	for _, s := range seeds {
		wg.Go(func() {
			if ctx.Err() != nil {
				return
			}
			m.counts.add(func(c *Counters) { c.Joins++ })
			if _, err := list.Join([]string{s.Node + "/" + s.Gossip}); err != nil {
				m.config.Log.Debug("member not joined: trying again next round", "node", s.Node, "address", s.Gossip, "err", err)
			}
		})
	}
	wg.Wait()
}

// givenName stands for the unknown node behind an address that was given.
const givenName = "given"

// given resolves the peers of Config.Join. memberlist itself is handed
// addresses only: it would ask DNS over TCP for everything about a name.
func (m *Membership) given(ctx context.Context) []Seed {
	var seeds []Seed
	for _, want := range m.config.Join {
		host, port := splitPort(want, m.config.Port)
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			m.config.Log.Warn("peer to join not found: looking it up again next round", "peer", want, "err", err)
			continue
		}
		for _, addr := range addrs {
			at := netip.AddrPortFrom(addr.Unmap(), port)
			if at != netip.AddrPortFrom(m.config.Address, m.config.Port) {
				seeds = append(seeds, Seed{Node: givenName, Gossip: at.String()})
			}
		}
	}
	return seeds
}

// splitPort reads host, host:port, or an address of either family.
func splitPort(peer string, port uint16) (string, uint16) {
	if host, p, err := net.SplitHostPort(peer); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil {
			return host, uint16(n)
		}
	}
	return strings.Trim(peer, "[]"), port
}

// random returns a number below n; Rand is not safe for concurrent use.
func (m *Membership) random(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n <= 0 {
		return 0
	}
	return m.config.Rand.IntN(n)
}
