package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gvlan/tests/chaos/cluster"
	"gvlan/tests/chaos/drive"
	"gvlan/tests/chaos/history"
)

var (
	seed = flag.Uint64("seed", 0, "the one seed to run; 0: as many as fit in the time")
	long = flag.Duration("for", 0, "how long containers come and go in one run")
	size = flag.Int("members", 0, "members of etcd; 0: the seed decides between 1 and 3")
	play = flag.String("play", "", "the one fault to repeat; empty: all, as the seed says")
	keep = flag.String("keep", "", "folder to leave logs in")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

func TestChaos(t *testing.T) {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	agent, err := cluster.Build(t.Context(), dir, "agent")
	if err != nil {
		t.Fatal(err)
	}
	etcd, err := cluster.BuildEtcd(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, agent, etcd, *seed, *long)
}

// run runs one seed.
func run(t *testing.T, dir, agent, etcd string, seed uint64, long time.Duration) {
	folder, err := os.MkdirTemp(dir, "run")
	if err != nil {
		t.Fatal(err)
	}
	members := *size
	if members == 0 {
		members = 1 + 2*int(seed%2)
	}
	c, err := cluster.Start(t.Context(), folder, agent, etcd, cluster.Size{Hosts: 3, Members: members})
	if c != nil {
		defer func() {
			if *keep != "" {
				_ = os.CopyFS(filepath.Join(*keep, fmt.Sprint(seed)), os.DirFS(folder))
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	if err != nil {
		t.Fatal(err)
	}
	d := drive.New(c, seed, t.Logf)
	if err := d.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	faulty := make(chan struct{})
	go func() {
		defer close(faulty)
		if *play != "" {
			d.Repeat(ctx, *play)
		} else {
			d.Faults(ctx)
		}
	}()
	d.Containers(ctx, 2)
	<-faulty
	found := d.Finish(t.Context())
	found = append(found, d.Judge()...)
	bound, asked := 0, 0
	why := map[string]int{}
	for _, l := range d.Book.All() {
		asked++
		if l.Bind.Outcome == history.OK {
			bound++
		}
		why[fmt.Sprint(l.Request.Outcome, l.Bind.Outcome)]++
	}
	t.Logf("seed %d: %d requests, %d containers, %d revisions, %v", seed, asked, bound, d.Ledger.Revision(), why)
	for _, f := range found[:min(20, len(found))] {
		t.Errorf("seed %d: %s", seed, f)
	}
	if len(found) > 0 {
		t.Errorf("again with: go test ./tests/chaos -run TestChaos -seed %d -members %d -for %s", seed, members, long)
	}
}
