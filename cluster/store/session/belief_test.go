package session

import (
	"errors"
	"testing"

	"gvlan/cluster/store"
)

// What a store must hold to be the one that a node remembers.
func TestMemoryContradicts(t *testing.T) {
	memory := Memory{Cluster: "u", Revision: 50, Last: 40, Newest: Write{Node: "b", At: 45}, Recovery: 1}
	same := openingView{
		rev: 50, meta: store.Meta{UUID: "u"},
		epochIt: store.Item{Created: 3, Modified: 9}, lastIt: store.Item{Modified: 40}, newestIt: store.Item{Modified: 45},
	}
	for name, c := range map[string]struct {
		memory Memory
		change func(*openingView)
		want   string
	}{
		"nothing is remembered": {Memory{}, func(v *openingView) { v.meta.UUID = "other" }, ""},
		"the same":              {memory, func(*openingView) {}, ""},
		"a later one":           {memory, func(v *openingView) { v.rev, v.lastIt.Modified, v.newestIt.Modified = 60, 51, 55 }, ""},
		"another cluster":       {memory, func(v *openingView) { v.meta.UUID = "w" }, "it is cluster w, this node knows cluster u"},
		"without the epoch":     {memory, func(v *openingView) { v.epochIt = store.Item{} }, "this node's epoch is missing"},
		"an older revision":     {memory, func(v *openingView) { v.rev = 49 }, "revision 49 is below 50, which this node has seen"},
		"without the last write": {memory, func(v *openingView) { v.lastIt.Modified = 39 },
			"this node's last write, of revision 40, is gone: the store has that of 39"},
		"without another node's": {memory, func(v *openingView) { v.newestIt = store.Item{} },
			"node b's last write, of revision 45, is gone: the store has that of 0"},
		"one found suspect before": {Memory{Cluster: "u", Revision: neverReached}, func(*openingView) {}, unsettled},
	} {
		t.Run(name, func(t *testing.T) {
			view := same
			c.change(&view)
			if got := c.memory.contradicts(view); got != c.want {
				t.Errorf("it says %q, want %q", got, c.want)
			}
		})
	}
}

// A recovery covers what a node misses when it took place in the node's cluster,
// or in the one that came in its place, after the node last trusted the store.
func TestBeliefIsCoveredByARecovery(t *testing.T) {
	b := belief{known: Memory{Cluster: "u", Recovery: 2}}
	for _, c := range []struct {
		meta store.Meta
		done int64
		want bool
	}{
		{store.Meta{UUID: "u"}, 3, true},
		{store.Meta{UUID: "u"}, 2, false},
		{store.Meta{UUID: "w", After: "u"}, 3, true},
		{store.Meta{UUID: "w"}, 3, false},
	} {
		if got := b.covered(c.meta, store.Recovery{Count: c.done}); got != c.want {
			t.Errorf("%+v after recovery %d: covered is %v", c.meta, c.done, got)
		}
	}
}

func TestRightToAName(t *testing.T) {
	live := func(install string) store.Item {
		return store.Item{Created: 1, Value: store.Encode(store.Live{Install: install, Host: "h", Address: "192.0.2.1"})}
	}
	for name, c := range map[string]struct {
		liveIt store.Item
		before store.Epoch
		holds  string // the install that the name is refused for
		clone  bool
		elder  string
	}{
		"nobody's":                      {store.Item{}, store.Epoch{}, "", false, ""},
		"its own, on this boot":         {live("me"), store.Epoch{Install: "me", Boot: "now"}, "", false, ""},
		"its own, on another boot":      {live("me"), store.Epoch{Install: "me", Boot: "then"}, "me", true, ""},
		"another's":                     {live("you"), store.Epoch{Install: "you", Boot: "x"}, "you", false, "you"},
		"another's that has gone":       {store.Item{}, store.Epoch{Install: "you"}, "", false, "you"},
		"taken from it by another":      {live("you"), store.Epoch{Install: "you", Elder: "me"}, "", false, ""},
		"its own, taken by a copy":      {live("me"), store.Epoch{Install: "me", Boot: "copy", Former: "now"}, "", false, ""},
		"taken back from it, a copy":    {store.Item{}, store.Epoch{Install: "me", Boot: "elder", Clone: "now"}, "me", true, ""},
		"taken by another from a third": {store.Item{}, store.Epoch{Install: "you", Elder: "they"}, "", false, "they"},
	} {
		t.Run(name, func(t *testing.T) {
			r := right{id: Identity{Node: "n", Install: "me", Boot: "now"}}
			err := r.checkHolder(c.liveIt, c.before)
			held, _ := errors.AsType[*store.HeldError](err)
			if c.holds == "" && err != nil || c.holds != "" && (held == nil || held.Install != c.holds || held.Clone != c.clone) {
				t.Errorf("the name is refused with %v", err)
			}
			if got := r.next(c.before); got.Elder != c.elder || got.Epoch != c.before.Epoch+1 {
				t.Errorf("the next epoch is %+v, want one after %d with elder %q", got, c.before.Epoch, c.elder)
			}
			r.settled = true
			if got := r.elder(c.before); got != "" {
				t.Errorf("a settled name has the elder %q", got)
			}
		})
	}
}

// A watch of the gate that lags behind a transaction of this node's does not
// take back what that showed.
func TestGateIsNotTakenBack(t *testing.T) {
	gate := func(at store.Revision, round string) store.Item {
		return store.Item{Key: store.GateKey(), Modified: at, Value: store.Encode(store.Gate{Round: round})}
	}
	g := gateState{gate: store.Gate{Round: "new"}, at: 20, seen: 22, reasserted: "new"}
	if err := g.follow(store.Change{Reset: true, Items: []store.Item{gate(10, "old")}, Revision: 15}); err != nil {
		t.Fatal(err)
	}
	if g.gate.Round != "new" || g.at != 20 || g.seen != 22 || g.reasserted != "new" {
		t.Errorf("after an older listing it is %+v", g)
	}
	if err := g.follow(store.Change{Events: []store.Event{{Item: gate(20, ""), Deleted: true, At: 21}}, Revision: 21}); err != nil || g.at != 20 {
		t.Errorf("after an older event it is %+v, %v", g, err)
	}
	if err := g.follow(store.Change{Events: []store.Event{{Item: store.Item{Key: store.GateKey()}, Deleted: true, At: 30}}, Revision: 30}); err != nil || g.at != 0 || g.why() != nil {
		t.Errorf("after it was opened it is %+v, %v", g, err)
	}
}
