package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gvlan/tests/chaos/cluster"
	"gvlan/tests/chaos/drive"
)

var (
	seed  = flag.Uint64("seed", 0, "the one seed to run; 0: fresh ones, as many as fit in the time")
	whole = flag.Duration("for", 2*time.Minute, "how long fresh seeds are begun")
	each  = flag.Duration("each", 25*time.Second, "how long things go wrong in the run of one seed")
	size  = flag.Int("members", 0, "members of etcd; 0: the seed decides between 1 and 3")
	swarm = flag.Bool("swarm", false, "the hosts are a swarm's; a third of the seeds has it so")
	play  = flag.String("play", "", "the one fault to repeat; empty: all, as the seed says")
	keep  = flag.String("keep", "", "folder to leave logs in")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

// built are the programs of a test.
type built struct{ dir, agent, etcd string }

// build compiles an agent with these patches, and etcd.
func build(t *testing.T, patches ...cluster.Patch) built {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaos") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := built{dir: dir}
	if b.agent, err = cluster.Build(t.Context(), dir, "agent", patches...); err != nil {
		t.Fatal(err)
	}
	if b.etcd, err = cluster.BuildEtcd(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return b
}

// start starts a cluster that ends with the test, and a run on it.
func (b built) start(t *testing.T, seed uint64, size cluster.Size) *drive.Drive {
	t.Helper()
	folder, err := os.MkdirTemp(b.dir, "run")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(t.Context(), folder, b.agent, b.etcd, size)
	if c != nil {
		t.Cleanup(func() {
			if *keep != "" {
				logs(t, folder, filepath.Join(*keep, fmt.Sprint(seed)))
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	d := drive.New(c, seed, t.Logf)
	if err := d.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// logs copies the logs of a run: beside them lie sockets, which no copy has.
func logs(t *testing.T, from, to string) {
	found, _ := filepath.Glob(filepath.Join(from, "*", "*.log"))
	for _, path := range found {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		name := filepath.Join(to, filepath.Base(filepath.Dir(path))+"-"+filepath.Base(path))
		if err := errors.Join(os.MkdirAll(to, 0o755), os.WriteFile(name, text, 0o644)); err != nil {
			t.Error(err)
		}
	}
}

// TestChaos: whatever breaks, no address is two containers' at once, none is lost
// and none leaks.
func TestChaos(t *testing.T) {
	b := build(t)
	if *seed != 0 {
		b.run(t, *seed)
		return
	}
	for end := time.Now().Add(*whole); time.Now().Before(end) && !t.Failed(); {
		seed := rand.Uint64N(1 << 32)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { b.run(t, seed) })
	}
}

// run runs one seed.
func (b built) run(t *testing.T, seed uint64) {
	members := *size
	if members == 0 {
		members = 1 + 2*int(seed%2)
	}
	d := b.start(t, seed, cluster.Size{Hosts: 3, Members: members, Swarm: *swarm || seed%3 == 0})
	ctx, cancel := context.WithTimeout(t.Context(), *each)
	defer cancel()
	var faults sync.WaitGroup
	faults.Go(func() {
		if *play != "" {
			d.Repeat(ctx, *play)
		} else {
			d.Faults(ctx)
		}
	})
	d.Containers(ctx, 2)
	faults.Wait()
	found := append(d.Finish(t.Context()), d.Judge()...)
	t.Logf("seed %d, %d members of etcd: %s", seed, members, d.Book.Sum())
	for _, f := range found[:min(20, len(found))] {
		t.Errorf("seed %d: %s", seed, f)
	}
	if len(found) > 0 {
		t.Errorf("once more: go test ./tests/chaos -run TestChaos -seed %d -members %d -each %s -play %q", seed, members, *each, *play)
	}
}
