package care_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/care"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
)

const mega = 1 << 20

// three is a leader "a" and two followers, all well.
func three() []care.Member {
	var all []care.Member
	for i, node := range []string{"a", "b", "c"} {
		all = append(all, care.Member{
			ID: uint64(i + 1), Node: node, Endpoint: node, Leader: node == "a", Answers: true, InStep: true,
			Size: 65 * mega, InUse: 30 * mega, Quota: 2048 * mega, Revision: 7,
		})
	}
	return all
}

func TestWhoIsDefragmentedNext(t *testing.T) {
	for _, tt := range []struct {
		name string
		bend func(*care.View)
		want string
	}{
		{"a follower first", func(*care.View) {}, "b"},
		{"the next", func(v *care.View) { v.Members[1].Size = 30 * mega }, "c"},
		{"the leader last", func(v *care.View) { v.Members[1].Size, v.Members[2].Size = 30*mega, 30*mega }, "a"},
		{"none is large", func(v *care.View) {
			for i := range v.Members {
				v.Members[i].Size, v.Members[i].InUse = 64*mega, mega
			}
		}, ""},
		{"half of each is in use", func(v *care.View) {
			for i := range v.Members {
				v.Members[i].InUse = 33 * mega
			}
		}, ""},
		{"one does not answer", func(v *care.View) { v.Members[2].Answers = false }, ""},
		{"one is not in step", func(v *care.View) { v.Members[0].InStep = false }, ""},
		{"a quota is used up", func(v *care.View) { v.NoSpace = true }, ""},
		{"their data differ", func(v *care.View) { v.Differ = true }, ""},
		{"b was a short while ago", func(v *care.View) { v.Members[1].Revision = 0 }, "c"},
		{"nobody is there", func(v *care.View) { v.Members = nil }, ""},
	} {
		v := care.View{Members: three()}
		tt.bend(&v)
		m, found := v.Next(func(m care.Member) bool { return m.Revision != 0 })
		if m.Node != tt.want || found != (tt.want != "") {
			t.Errorf("%s: %q, %v; want %q", tt.name, m.Node, found, tt.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	called := func(node string) string { return "host-" + node }
	for _, tt := range []struct {
		name string
		bend func(*care.View)
		want []string // fragments, one of each
	}{
		{"all is well", func(*care.View) {}, nil},
		{"rebooting", func(v *care.View) { v.Members[1].Answers, v.Members[1].Quiet = false, time.Minute }, nil},
		{"away", func(v *care.View) { v.Members[1].Answers, v.Members[1].Quiet = false, 3*time.Minute }, []string{"host host-b has not answered for 3m0s"}},
		{"nearly full", func(v *care.View) { v.Members[2].InUse = 1700 * mega }, []string{"host-c has filled 83% of its quota of 2048 MiB"}},
		{"full", func(v *care.View) { v.NoSpace = true; v.Members[2].InUse = 1700 * mega }, []string{"quota is used up"}},
		{"differ", func(v *care.View) { v.Differ = true }, []string{"gvlan store recover"}},
	} {
		v := care.View{Members: three()}
		tt.bend(&v)
		got := v.Warnings(called)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			continue
		}
		for i, fragment := range tt.want {
			if !strings.Contains(got[i], fragment) {
				t.Errorf("%s: %q, want %q", tt.name, got[i], fragment)
			}
		}
	}
}

// fake is a cluster whose members shrink when they are defragmented.
type fake struct {
	mu     sync.Mutex
	all    []care.Member
	full   bool
	stays  bool // what is in use is all it has
	did    []string
	silent error
}

func (f *fake) note(format string, args ...any) { f.did = append(f.did, fmt.Sprintf(format, args...)) }

func (f *fake) Members(context.Context) ([]etcd.MemberInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var infos []etcd.MemberInfo
	for _, m := range f.all {
		infos = append(infos, etcd.MemberInfo{ID: m.ID, Name: m.Node, Client: m.Endpoint, Learner: m.Learner, Started: true})
	}
	return infos, f.silent
}

func (f *fake) Status(_ context.Context, endpoint string) (etcd.MemberStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.all, func(m care.Member) bool { return m.Endpoint == endpoint })
	m := f.all[i]
	if !m.Answers {
		return etcd.MemberStatus{}, store.ErrUnavailable
	}
	s := etcd.MemberStatus{ID: m.ID, Leader: 1, Index: 9000, Applied: 9000, DBSize: m.Size, DBInUse: m.InUse, DBQuota: m.Quota, Revision: m.Revision}
	if !m.InStep {
		s.Applied = 1
	}
	if f.full {
		s.Alarms = []string{"alarm"}
	}
	return s, nil
}

func (f *fake) Alarms(context.Context) ([]etcd.Alarm, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.full {
		return nil, nil
	}
	return []etcd.Alarm{{Member: 1, NoSpace: true}}, nil
}

func (f *fake) Compact(_ context.Context, revision int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("compact %d", revision)
	return store.ErrCompacted // it was by the hour
}

func (f *fake) Defragment(_ context.Context, endpoint string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("defragment %s", endpoint)
	for i := range f.all {
		if m := &f.all[i]; m.Endpoint == endpoint && !f.stays {
			m.Size = m.InUse
		}
	}
	return nil
}

func (f *fake) Disarm(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("disarm")
	f.full = false
	return nil
}

func (f *fake) done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.did)
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// quiet is a log that is looked at.
func quiet() (*slog.Logger, *bytes.Buffer) {
	var text bytes.Buffer
	return slog.New(slog.NewTextHandler(&text, nil)), &text
}

// run has a caretaker work until the returned function is called.
func run(c *care.Caretaker) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// A quota that is used up is cured on a real etcd: the alarm ends, and what is
// written is taken in.
func TestQuotaIsCured(t *testing.T) {
	const quota = 16 * mega
	dir := t.TempDir()
	server := etcdtest.Serve(t, embedded.Config{Dir: dir, Quota: quota})
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{server.Endpoint()}})
	membership := etcd.NewMembership(client)
	write := func() error {
		_, err := client.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put("/again", make([]byte, 256<<10))}})
		return err
	}
	var full error
	for range 200 {
		if full = write(); full != nil {
			break
		}
	}
	if !errors.Is(full, store.ErrUnavailable) {
		t.Fatalf("a quota that is used up: %v, want store.ErrUnavailable, since it is cured", full)
	}
	log, text := quiet()
	leads := false
	c := care.New(care.Config{
		Cluster: membership, Own: server.Endpoint(), Every: 20 * time.Millisecond, Now: time.Now, Log: log,
		Leads: func() bool { is := server.Standing(); return leads && is.ID == is.Leader },
	})
	stop := run(c)
	for !c.Last().NoSpace {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if all := c.Last().Warnings(func(node string) string { return node }); len(all) != 1 || write() == nil {
		t.Errorf("who does not lead acts, or says nothing: %q", all)
	}
	leads = true
	stop = run(c)
	guard := time.Now().Add(time.Minute)
	for write() != nil {
		if time.Now().After(guard) {
			t.Fatalf("nothing is taken in; log:\n%s", text)
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	if alarms, err := membership.Alarms(t.Context()); err != nil || len(alarms) > 0 {
		t.Errorf("alarms: %v, %v", alarms, err)
	}
	if !strings.Contains(text.String(), "room again") {
		t.Errorf("the log does not say so:\n%s", text)
	}
}

func diff(t *testing.T, what string, f *fake, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, f.done()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}
