package members_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/events"
	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/members"
	"gvlan/cluster/store/storetest"
)

var errSilent = errors.New("no answer")

// cluster is an etcd in memory, as far as its membership goes.
type cluster struct {
	mu      sync.Mutex
	list    []members.MemberInfo
	silent  map[string]bool // by node
	behind  map[string]uint64
	leader  uint64
	ids     uint64
	lost    map[string]bool // by node; knows no leader
	early   int             // promotions to refuse
	refused error           // what every call says
	done    []string
}

func newCluster(leader string) *cluster {
	c := &cluster{silent: map[string]bool{}, behind: map[string]uint64{}, ids: 0xa0}
	c.leader = c.join(leader, false)
	return c
}

// join makes a member that was started.
func (c *cluster) join(node string, learner bool) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids++
	c.list = append(c.list, members.MemberInfo{ID: c.ids, Name: node, Peer: node + ":2380", Client: node + ":2379", Learner: learner, Started: true})
	return c.ids
}

func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *cluster) steps() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.done)
}

func (c *cluster) Members(context.Context) ([]members.MemberInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list), c.refused
}

func (c *cluster) Status(_ context.Context, client string) (members.MemberStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.list {
		if m.Client == client && !c.silent[m.Name] {
			if c.lost[m.Name] {
				return members.MemberStatus{ID: m.ID, Index: 9, Applied: 9}, c.refused
			}
			return members.MemberStatus{ID: m.ID, Leader: c.leader, Learner: m.Learner, Index: 5000, Applied: 5000 - c.behind[m.Name]}, c.refused
		}
	}
	return members.MemberStatus{}, errSilent
}

func (c *cluster) AddLearner(_ context.Context, peer string) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids++
	c.list = append(c.list, members.MemberInfo{ID: c.ids, Peer: peer, Learner: true})
	c.done = append(c.done, "add "+peer)
	return c.ids, c.refused
}

func (c *cluster) Promote(_ context.Context, id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.early > 0 {
		c.early--
		return fmt.Errorf("promote: %w", members.ErrNotInStep)
	}
	i := c.at(id)
	c.list[i].Learner = false
	c.done = append(c.done, "promote "+c.list[i].Name)
	return c.refused
}

func (c *cluster) Remove(_ context.Context, id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.at(id)
	c.done = append(c.done, "remove "+c.list[i].Name)
	c.list = slices.Delete(c.list, i, i+1)
	return c.refused
}

func (c *cluster) MoveLeader(_ context.Context, to uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = to
	c.done = append(c.done, "lead "+c.list[c.at(to)].Name)
	return c.refused
}

func (c *cluster) at(id uint64) int {
	return slices.IndexFunc(c.list, func(m members.MemberInfo) bool { return m.ID == id })
}

// start has a host that finds its place in the store run a member.
func (c *cluster) start(record store.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, m := range c.list {
		if members.HexID(m.ID) == record.ID && !m.Started {
			c.list[i].Name, c.list[i].Client, c.list[i].Started = record.Node, record.Client, true
			delete(c.silent, record.Node)
		}
	}
}

// trial is a steward on host a, with the store and the cluster it looks after.
type trial struct {
	*cluster
	t   *testing.T
	kv  *storetest.Mem
	log *syncBuffer

	told eventstest.Heard
}

func begin(t *testing.T, c *cluster, change func(*members.Config), hosts ...string) *trial {
	t.Helper()
	r := &trial{cluster: c, t: t, kv: storetest.NewMem(), log: &syncBuffer{}}
	for _, node := range hosts {
		r.describe(store.Node{Node: node, Store: node + ":2379"})
		r.write(store.Put(store.LiveKey(node), store.Encode(store.Live{Host: node})))
	}
	cfg := members.Config{
		Node: "a", KV: r.kv, Roster: c, Membership: c, Events: &r.told, Patience: 300 * time.Millisecond, Bare: 100 * time.Millisecond,
		Every: time.Millisecond, Settle: time.Millisecond, Log: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- members.NewSteward(cfg).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

func (r *trial) write(ops ...store.Op) {
	r.t.Helper()
	if _, err := r.kv.Commit(context.Background(), store.Txn{Then: ops}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *trial) describe(n store.Node) {
	r.t.Helper()
	r.write(store.Put(store.NodeKey(n.Node), store.Encode(n)))
}

// records are the members' records by node.
func (r *trial) records() map[string]store.Member {
	r.t.Helper()
	all, err := members.Records(context.Background(), r.kv)
	if err != nil {
		r.t.Fatal(err)
	}
	found := map[string]store.Member{}
	for _, m := range all {
		found[m.Node] = m
	}
	return found
}

// until starts the members that hosts are asked for until something holds.
func (r *trial) until(what string, holds func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			r.t.Fatalf("never: %s; steps %q, records %+v", what, r.steps(), r.records())
		}
		for _, record := range r.records() {
			r.start(record)
		}
		time.Sleep(time.Millisecond)
	}
}

// recorded waits for records of those nodes, "+" before those that vote.
func (r *trial) recorded(want ...string) {
	r.t.Helper()
	r.until(fmt.Sprintf("records of %q", want), func() bool {
		var got []string
		for node, m := range r.records() {
			if !m.Learner {
				node = "+" + node
			}
			got = append(got, node)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

func TestGrows(t *testing.T) {
	c := newCluster("a")
	c.early = 3
	r := begin(t, c, nil, "a", "b", "c")
	r.recorded("+a", "+b", "+c")
	if diff := cmp.Diff([]string{"add b:2380", "add c:2380", "promote b", "promote c"}, r.steps()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if log := r.log.String(); strings.Contains(log, "level=WARN") {
		t.Errorf("a learner that is not in step yet is no trouble:\n%s", log)
	}
	want := store.Member{Node: "b", ID: "a2", Peer: "b:2380", Client: "b:2379", Door: "b:2381"}
	recorded := func(node string) (got store.Member, found bool, err error) {
		all, err := members.Records(t.Context(), r.kv)
		for _, m := range all {
			if m.Node == node {
				return m, true, err
			}
		}
		return got, false, err
	}
	if got, found, err := recorded("b"); got != want || !found || err != nil {
		t.Errorf("record %+v, %v, %v, want %+v", got, found, err, want)
	}
	if _, found, err := recorded("d"); found || err != nil {
		t.Errorf("record of d: %v, %v", found, err)
	}
}

func TestLearnerThatLagsIsNotPromoted(t *testing.T) {
	c := newCluster("a")
	c.behind["c"] = 4000
	r := begin(t, c, nil, "a", "b", "c")
	r.until("all answer", func() bool {
		got, err := members.Look(t.Context(), r.kv, c)
		return err == nil && len(got.Statuses) == 3
	})
	time.Sleep(50 * time.Millisecond)
	if diff := cmp.Diff([]string{"add b:2380", "add c:2380"}, r.steps()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	r.set(func() { delete(c.behind, "c") })
	r.recorded("+a", "+b", "+c")
}

func threeVoters() *cluster {
	c := newCluster("a")
	c.join("b", false)
	c.join("c", false)
	return c
}

func TestReplacesWhoIsGone(t *testing.T) {
	c := threeVoters()
	c.silent["c"] = true
	r := begin(t, c, nil, "a", "b", "c", "d")
	r.write(store.Delete(store.LiveKey("c")))
	r.recorded("+a", "+b", "+d")
	if diff := cmp.Diff([]string{"add d:2380", "remove c", "promote d"}, r.steps()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestHostThatLostItsDataBeginsAnew(t *testing.T) {
	c := threeVoters()
	c.silent["c"] = true
	r := begin(t, c, nil, "a", "b", "c")
	r.until("c has another id", func() bool {
		record, found := r.records()["c"]
		return found && record.ID != "a3"
	})
	r.recorded("+a", "+b", "+c")
	if diff := cmp.Diff([]string{"remove c", "add c:2380", "promote c"}, r.steps()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// A host that leaves, and leads: another leads, and the steward there goes on.
func TestHandsOver(t *testing.T) {
	c := newCluster("b")
	r := begin(t, c, nil, "a", "b")
	begun := members.NewSteward(members.Config{
		Node: "b", KV: r.kv, Roster: c, Membership: c, Events: &r.told, Every: time.Millisecond, Settle: time.Millisecond,
		Log: slog.New(slog.DiscardHandler),
	})
	var work sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	work.Go(func() { _ = begun.Run(ctx) })
	defer work.Wait()
	defer cancel()
	r.recorded("+b", "a")
	r.describe(store.Node{Node: "b", Store: "b:2379", Leaving: true})
	r.recorded("+a")
	if diff := cmp.Diff([]string{"add a:2380", "promote a", "lead a", "remove b"}, r.steps()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	var told []string
	for _, e := range r.told.Of(events.StoreChanged) {
		told = append(told, e.Node+" "+e.Text[:strings.Index(e.Text, ":")])
	}
	if diff := cmp.Diff([]string{"a has a member of the store, which does not vote yet", "a its member of the store votes", "b has no member of the store any more"}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestWhoDoesNotLeadDoesNothing(t *testing.T) {
	c := newCluster("b")
	c.join("a", true)
	r := begin(t, c, nil, "a", "b", "c", "d")
	time.Sleep(50 * time.Millisecond)
	if steps, records := r.steps(), r.records(); len(steps)+len(records) > 0 {
		t.Errorf("steps %q, records %+v", steps, records)
	}
}

// A leader that has just begun writes the records, and changes nothing yet,
// unless it is the only member: nobody led before it.
func TestSettles(t *testing.T) {
	unsettled := func(cfg *members.Config) { cfg.Settle = time.Hour }
	c := newCluster("a")
	c.join("b", false)
	r := begin(t, c, unsettled, "a", "b", "c")
	r.recorded("+a", "+b")
	time.Sleep(50 * time.Millisecond)
	if steps := r.steps(); len(steps) > 0 {
		t.Errorf("steps %q", steps)
	}
	begin(t, newCluster("a"), unsettled, "a", "b").recorded("+a", "b")
}

// The steward died between adding a learner and writing its record.
func TestLearnerWithoutARecord(t *testing.T) {
	c := newCluster("a")
	if _, err := c.AddLearner(t.Context(), "b:2380"); err != nil {
		t.Fatal(err)
	}
	r := begin(t, c, nil, "a", "b")
	r.recorded("+a", "b")
	if diff := cmp.Diff([]string{"add b:2380"}, r.steps()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// An evicted host's description goes before its member does, which nobody waits
// for.
func TestEvicted(t *testing.T) {
	c := threeVoters()
	r := begin(t, c, func(cfg *members.Config) { cfg.Patience = time.Hour }, "a", "b", "c", "d")
	r.recorded("+a", "+b", "+c")
	r.set(func() { c.silent["c"] = true })
	r.write(store.Put(store.EpochKey("c"), store.Encode(store.Epoch{Evicted: true})),
		store.Delete(store.NodeKey("c")), store.Delete(store.LiveKey("c")))
	r.recorded("+a", "+b", "+d")
}

func TestAskedSize(t *testing.T) {
	r := begin(t, threeVoters(), nil, "a", "b", "c", "d", "e")
	r.recorded("+a", "+b", "+c")
	for _, c := range []struct {
		voters int
		want   []string
	}{
		{5, []string{"+a", "+b", "+c", "+d", "+e"}},
		{1, []string{"+a", "b"}},
		{0, []string{"+a", "+b", "+c"}},
	} {
		if err := members.SetSize(t.Context(), r.kv, c.voters); err != nil {
			t.Fatal(err)
		}
		if found, err := members.Look(t.Context(), r.kv, r.cluster); found.Want != c.voters || err != nil {
			t.Errorf("size %d, %v, want %d", found.Want, err, c.voters)
		}
		r.recorded(c.want...)
	}
	if _, err := r.kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.SizeKey(), []byte(`{"voters":5,"later":1}`))}}); err != nil {
		t.Fatal(err)
	}
	if err := members.SetSize(t.Context(), r.kv, 3); err != nil {
		t.Error(err)
	}
	if it, err := r.kv.Get(t.Context(), store.SizeKey()); err != nil || string(it.Value) != `{"later":1,"voters":3}` {
		t.Errorf("what a newer gvlan wrote is gone: %s, %v", it.Value, err)
	}
	for _, voters := range []int{-1, 2, 7} {
		if err := members.SetSize(t.Context(), r.kv, voters); !errors.Is(err, members.ErrSize) {
			t.Errorf("size %d: %v", voters, err)
		}
	}
}

// What goes wrong is told once, and tried again.
func TestTellsOnce(t *testing.T) {
	c := newCluster("a")
	c.refused = errSilent
	r := begin(t, c, nil, "a", "b")
	r.until("a warning", func() bool { return strings.Contains(r.log.String(), "level=WARN") })
	time.Sleep(50 * time.Millisecond)
	if n := strings.Count(r.log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	r.set(func() { c.refused = nil })
	r.recorded("+a", "b")
}

func TestLook(t *testing.T) {
	c := threeVoters()
	c.join("e", true)
	c.silent["c"], c.behind["b"], c.lost = true, 7, map[string]bool{"e": true}
	r := begin(t, c, func(cfg *members.Config) { cfg.Node = "d" }, "a", "b", "c", "d")
	got, err := members.Look(t.Context(), r.kv, c)
	if err != nil {
		t.Fatal(err)
	}
	want := []members.Member{
		{ID: 0xa1, Node: "a", Peer: "a:2380", Started: true, Answers: true, Leader: true, InStep: true},
		{ID: 0xa2, Node: "b", Peer: "b:2380", Started: true, Answers: true, InStep: true, Lag: 7},
		{ID: 0xa3, Node: "c", Peer: "c:2380", Started: true},
		{ID: 0xa4, Node: "e", Peer: "e:2380", Learner: true, Started: true, Lag: 4991},
	}
	if diff := cmp.Diff(want, got.Members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if answered := slices.Sorted(maps.Keys(got.Statuses)); !slices.Equal(answered, []uint64{0xa1, 0xa2, 0xa4}) {
		t.Errorf("statuses of %x", answered)
	}
	if got.Goal() != 3 || got.Why("d") != "3 are enough" {
		t.Errorf("goal %d, d is none: %q", got.Goal(), got.Why("d"))
	}
	c.set(func() { c.refused = errSilent })
	if _, err := members.Look(t.Context(), r.kv, c); !errors.Is(err, errSilent) {
		t.Errorf("got %v", err)
	}
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
