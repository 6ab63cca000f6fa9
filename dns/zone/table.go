package zone

import (
	"hash/maphash"
	"maps"
	"slices"
)

// shards is how many parts a table is copied in: a change of one name among
// 100,000 copies one part in 256 of them.
const shards = 256

// table maps folded names to the members they stand for, and, in the one
// for reverse lookups, the bytes of an address to who holds it. A published
// table never changes; a draft of the next one shares every shard it did
// not touch.
type table struct {
	seed   maphash.Seed
	shards [shards]map[string]*entry
}

// entry is what one name stands for.
type entry struct {
	members []*member
	below   int32 // names further down; with no members the name is an empty non-terminal (RFC 8020)
	mixed   bool  // the members do not all spell the name alike
}

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

// get returns the entry of a name, or nil. It does not allocate.
func (t *table) get(name []byte) *entry {
	return t.shards[maphash.Bytes(t.seed, name)%shards][string(name)]
}

// draft is a table being written. What it shares with the published one is
// copied before it is changed.
type draft struct {
	*table
	own [shards]bool
}

func (t *table) draft() *draft {
	next := *t
	return &draft{table: &next}
}

func (d *draft) shard(name string) map[string]*entry {
	i := maphash.String(d.seed, name) % shards
	if !d.own[i] {
		d.own[i] = true
		if d.shards[i] == nil {
			d.shards[i] = make(map[string]*entry)
		} else {
			d.shards[i] = maps.Clone(d.shards[i])
		}
	}
	return d.shards[i]
}

func (d *draft) set(name string, e *entry) {
	if len(e.members) == 0 && e.below == 0 {
		delete(d.shard(name), name)
		return
	}
	d.shard(name)[name] = e
}

// add puts a member under a name. Appending never disturbs readers of older
// tables: they look no further than the length they know.
func (d *draft) add(name string, m *member) {
	old := d.shard(name)[name]
	if old == nil {
		d.set(name, &entry{members: []*member{m}})
		return
	}
	mixed := old.mixed || len(old.members) > 0 && old.members[0].spelling(name) != m.spelling(name)
	d.set(name, &entry{members: append(old.members, m), below: old.below, mixed: mixed})
}

func (d *draft) remove(name string, m *member) {
	old := d.shard(name)[name]
	if old == nil {
		return
	}
	left := make([]*member, 0, len(old.members))
	for _, other := range old.members {
		if other != m {
			left = append(left, other)
		}
	}
	mixed := old.mixed && slices.ContainsFunc(left, func(other *member) bool { return other.spelling(name) != left[0].spelling(name) })
	d.set(name, &entry{members: slices.Clip(left), below: old.below, mixed: mixed})
}

// nest counts a name that came (by 1) or went (by -1) below another one.
func (d *draft) nest(name string, by int) {
	next := entry{below: int32(by)}
	if old := d.shard(name)[name]; old != nil {
		next = entry{members: old.members, below: old.below + int32(by), mixed: old.mixed}
	}
	d.set(name, &next)
}
