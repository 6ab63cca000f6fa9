package etcd_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
	"gvlan/cluster/store/storetest"
)

// What etcd says to a change of its members, by its kind.
func TestMembershipOfOne(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{})
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{server.Endpoint()}})
	m, ctx := etcd.NewMembership(client), t.Context()
	self := server.Standing().ID
	if s, err := m.Status(ctx, server.Endpoint()); err != nil || s.ID != self || s.Leader != self || s.DBSize == 0 || s.Version == "" || s.Revision == 0 || len(s.Alarms) > 0 {
		t.Errorf("Status: %+v, %v", s, err)
	}
	if err := m.Update(ctx, self, "https://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	id, err := m.AddLearner(ctx, "https://127.0.0.1:2")
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64]etcd.MemberInfo{
		self: {ID: self, Name: "gvlan", PeerURL: "https://127.0.0.1:1", Peer: "127.0.0.1:1", Started: true}, // a socket is no address
		id:   {ID: id, PeerURL: "https://127.0.0.1:2", Peer: "127.0.0.1:2", Learner: true},
	}
	all, err := m.Members(ctx)
	if err != nil || len(all) != 2 {
		t.Fatalf("Members: %+v, %v; want two", all, err)
	}
	for _, got := range all {
		if got != want[got.ID] {
			t.Errorf("Members: %+v, want %+v", got, want[got.ID])
		}
	}
	for name, c := range map[string]struct{ got, want error }{
		"learner at a known address": {second(m.AddLearner(ctx, "https://127.0.0.1:2")), etcd.ErrKnown},
		"learner that never started": {m.Promote(ctx, id), etcd.ErrNotInStep},
		"nobody promoted":            {m.Promote(ctx, 1), etcd.ErrNoMember},
		"nobody moved":               {m.Update(ctx, 1, "https://127.0.0.1:3"), etcd.ErrNoMember},
		"a learner to lead":          {m.MoveLeader(ctx, id, server.Endpoint()), etcd.ErrNotLeader},
		"nobody removed":             {m.Remove(ctx, 1), nil},
		"learner removed":            {m.Remove(ctx, id), nil},
		"learner removed again":      {m.Remove(ctx, id), nil},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	if s, err := m.Status(ctx, "unix:///nowhere"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Status of nobody: %+v, %v; want ErrUnavailable", s, err)
	}
}

func second(_ uint64, err error) error { return err }

// A quota that is used up raises the alarm, which ends once there is room.
func TestAlarmForSpace(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{Quota: 1 << 20})
	endpoints := []string{server.Endpoint()}
	client := etcdtest.Connect(t, etcd.Config{Endpoints: endpoints})
	raw, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	m, ctx := etcd.NewMembership(client), t.Context()
	var last int64
	for range 1000 { // etcd sees what it has written late
		var resp *clientv3.PutResponse
		if resp, err = raw.Put(ctx, "/big", string(bytes.Repeat([]byte("x"), 64<<10))); err != nil {
			break
		}
		last = resp.Header.Revision
	}
	alarms, failed := m.Alarms(ctx)
	if err == nil || failed != nil || len(alarms) != 1 || !alarms[0].NoSpace || alarms[0].Member != server.Standing().ID {
		t.Fatalf("Put: %v; Alarms: %+v, %v; want one for space", err, alarms, failed)
	}
	if s, err := m.Status(ctx, server.Endpoint()); err != nil || len(s.Alarms) == 0 || s.DBQuota != 1<<20 {
		t.Errorf("Status: %+v, %v; want an alarm", s, err)
	}
	if _, err := raw.Compact(ctx, last, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	before, err := m.Status(ctx, server.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Defragment(ctx, server.Endpoint()); err != nil {
		t.Fatal(err)
	}
	if after, err := m.Status(ctx, server.Endpoint()); err != nil || after.DBSize >= before.DBSize {
		t.Errorf("Defragment: %d bytes of %d are left, %v", after.DBSize, before.DBSize, err)
	}
	if err := m.Disarm(ctx); err != nil {
		t.Fatal(err)
	}
	if alarms, err := m.Alarms(ctx); err != nil || len(alarms) != 0 {
		t.Errorf("Alarms: %+v, %v; want none", alarms, err)
	}
	if err := storetest.Put(ctx, client, "/k"); err != nil {
		t.Error(err)
	}
}

// A client that learns of other members asks them, and knows what it can use.
func TestSetEndpoints(t *testing.T) {
	t.Parallel()
	first, stop := etcdtest.ServeUntil(t, embedded.Config{})
	second := etcdtest.Serve(t, embedded.Config{})
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{first.Endpoint()}, Attempt: 5 * time.Second})
	if err := storetest.Put(t.Context(), client, "/in-the-first"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]string{nil, {"10.0.0.1"}, {"https://10.0.0.1:2379"}} {
		if err := client.SetEndpoints(bad); err == nil {
			t.Errorf("SetEndpoints(%q): no error", bad)
		}
	}
	if _, err := client.Get(t.Context(), "/in-the-first"); err != nil {
		t.Fatal(err)
	}
	if err := client.SetEndpoints([]string{second.Endpoint()}); err != nil {
		t.Fatal(err)
	}
	stop()
	for range 10 {
		_, err := client.Get(t.Context(), "/in-the-first")
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Get of the second, with what is in the first: %v, want ErrNotFound", err)
		}
	}
	fresh := etcdtest.Connect(t, etcd.Config{Endpoints: []string{first.Endpoint()}})
	if err := fresh.SetEndpoints([]string{second.Endpoint()}); err != nil { // before it connects
		t.Fatal(err)
	}
	if err := storetest.Put(t.Context(), fresh, "/k"); err != nil {
		t.Fatal(err)
	}
}
