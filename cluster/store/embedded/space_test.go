package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
)

// A member stops in order before its disk is full, and goes on once there is
// room.
func TestDiskGetsFull(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	free.Store(embedded.RoomFrom - 1)
	c := embedded.Config{Dir: t.TempDir(), Space: func(string) (int64, error) { return free.Load(), nil }}
	if err := start(t, c).fails(t); !errors.Is(err, embedded.ErrNoSpace) || !strings.Contains(err.Error(), c.Dir) {
		t.Fatalf("Run without room to start: %v, want ErrNoSpace with the folder", err)
	}
	free.Store(embedded.RoomFrom)
	r := start(t, c).ready(t)
	put(t, client(t, etcd.Config{Endpoints: []string{r.Endpoint()}}), "/kept")
	free.Store(embedded.FullBelow)
	time.Sleep(2 * time.Second)
	select {
	case err := <-r.done:
		t.Fatalf("Run with enough room ended: %v", err)
	default:
	}
	free.Store(embedded.FullBelow - 1)
	if err := r.ends(t); !errors.Is(err, embedded.ErrNoSpace) || errors.Is(err, embedded.ErrStuck) {
		t.Fatalf("Run on a full disk: %v, want ErrNoSpace", err)
	}
	free.Store(embedded.RoomFrom)
	r = start(t, c).ready(t)
	if _, err := client(t, etcd.Config{Endpoints: []string{r.Endpoint()}}).Get(t.Context(), "/kept"); err != nil {
		t.Error(err)
	}
}

func TestSpace(t *testing.T) {
	if free, err := embedded.Space(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("%d free, %v", free, err)
	}
	if _, err := embedded.Space("/not/there"); err == nil {
		t.Error("room in a folder that is not there")
	}
}

// A disk that is full from one moment to the next costs the member, and not the
// process: what etcd would end it for is an error of Run.
func TestDiskIsFullAtOnce(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounts a file system: needs root") //nolint:forbidigo // not root
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=200m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	data := filepath.Join(dir, "etcd")
	c := embedded.Config{Dir: data, Space: func(string) (int64, error) { return 1 << 40, nil }} // nobody looks
	r := start(t, c).ready(t)
	kv := client(t, etcd.Config{Endpoints: []string{r.Endpoint()}, Attempt: time.Second})
	put(t, kv, "/kept")
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for ctx.Err() == nil {
			_, _ = kv.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/large", make([]byte, 500_000))}})
		}
	})
	ended := r.ends(t)
	cancel()
	work.Wait()
	if !errors.Is(ended, embedded.ErrNoSpace) {
		t.Fatalf("Run: %v, want ErrNoSpace", ended)
	}
	t.Log(ended)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if errors.Is(ended, embedded.ErrStuck) {
		return // the next process goes on
	}
	r = start(t, c).ready(t)
	if _, err := client(t, etcd.Config{Endpoints: []string{r.Endpoint()}}).Get(t.Context(), "/kept"); err != nil {
		t.Error(err)
	}
}

// fill writes until nothing more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, size := range []int{1 << 20, 4096} {
		for block := make([]byte, size); err == nil || !errors.Is(err, syscall.ENOSPC); _, err = file.Write(block) {
			if err != nil {
				t.Fatal(err)
			}
		}
		err = nil
	}
}
