package hosting

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"gvlan/cluster/store"
	"gvlan/cluster/store/join"
)

// picture is what the store says of its own members: a mirror, which may lag. It
// also tells of every change of what the store keeps of itself.
type picture struct {
	log *slog.Logger

	mu      sync.Mutex
	listed  bool // the first listing has arrived
	members map[string]store.Member
	refused map[string]string // serial numbers that were revoked, by key
	life    store.Life
	changed chan struct{} // closed at the next change
}

func newPicture(log *slog.Logger) *picture {
	return &picture{log: log, members: map[string]store.Member{}, refused: map[string]string{}, changed: make(chan struct{})}
}

// apply takes over what store.Follow reports of store.OwnSpan.
func (p *picture) apply(c store.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.Reset {
		p.listed, p.members, p.refused, p.life = true, map[string]store.Member{}, map[string]string{}, store.Life{}
		for _, it := range c.Items {
			p.take(it, false)
		}
	}
	for _, ev := range c.Events {
		p.take(ev.Item, ev.Deleted)
	}
	if c.Reset || len(c.Events) > 0 {
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

func (p *picture) take(it store.Item, gone bool) {
	if it.Key == store.LifeKey() && !gone {
		life, err := store.Decode[store.Life](it)
		if err != nil {
			p.log.Error("which life the store is in cannot be read", "err", err)
		}
		p.life = life
	}
	if store.CertificatesSpan().Contains(it.Key) {
		delete(p.refused, it.Key)
		// One that cannot be read is named when the papers are looked at.
		if c, err := store.Decode[store.Certificate](it); !gone && err == nil && c.Revoked {
			p.refused[it.Key] = c.Serial
		}
	}
	if !store.MembersSpan().Contains(it.Key) {
		return
	}
	node := store.NameOf(it.Key)
	delete(p.members, node)
	if gone {
		return
	}
	record, err := store.Decode[store.Member](it)
	if err != nil {
		p.log.Error("the record of a member cannot be read: it is left out", "err", err)
		return
	}
	p.members[node] = record
}

// view is a picture at one moment.
type view struct {
	listed  bool
	members []store.Member // by node
	refused []string       // serial numbers of certificates that were revoked
	life    store.Life
	changed <-chan struct{} // closed at the next change
}

func (p *picture) now() view {
	p.mu.Lock()
	defer p.mu.Unlock()
	return view{
		listed: p.listed, changed: p.changed, life: p.life, refused: slices.Sorted(maps.Values(p.refused)),
		members: slices.SortedFunc(maps.Values(p.members), func(a, b store.Member) int { return strings.Compare(a.Node, b.Node) }),
	}
}

// member is what the store says of one node's place in it.
func (v view) member(node string) (store.Member, bool) {
	i := slices.IndexFunc(v.members, func(m store.Member) bool { return m.Node == node })
	if i < 0 {
		return store.Member{}, false
	}
	return v.members[i], true
}

// peersOf are the URLs at which the members but one node's meet, by node.
func (v view) peersOf(node string) map[string]string {
	all := map[string]string{}
	for _, m := range v.members {
		if m.Node != node {
			all[m.Node] = peerURL(m.Peer)
		}
	}
	return all
}

// places are where the members are.
func (v view) places() (all []join.Place) {
	for _, m := range v.members {
		all = append(all, join.Place{Node: m.Node, Client: m.Client, Door: m.Door, Learner: m.Learner})
	}
	return all
}
