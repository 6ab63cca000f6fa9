package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Current is the descriptor that stands for the calling thread's own network
// namespace in Open.
const Current = -1

// requestTimeout keeps one netlink request within the 5 s that a plugin
// handler has, even while the kernel holds its lock to tear a namespace down.
const requestTimeout = 4 * time.Second

// Kernel makes and removes links in one network namespace. Its methods may be
// called concurrently; those that change links run one at a time.
type Kernel struct {
	driver string
	ns     netns.NsHandle
	handle *netlink.Handle
	sys    fs.FS

	mu sync.Mutex // makes look-then-change of Ensure, Remove and RemoveStale one step
}

// Open gives the Kernel of the namespace with descriptor fd (Current for this
// one), which the caller may close afterwards. Only links marked with driver,
// the plugin's own name such as "gvlan", count as ours. Close releases it.
func Open(fd int, driver string) (*Kernel, error) {
	ns, err := duplicate(fd)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	k := &Kernel{driver: driver, ns: ns, handle: handle, sys: os.DirFS("/sys")}
	if err := handle.SetSocketTimeout(requestTimeout); err != nil {
		k.Close()
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	return k, nil
}

// Close releases the namespace and the netlink socket. Links stay.
func (k *Kernel) Close() error {
	k.handle.Close()
	return k.ns.Close()
}

func duplicate(fd int) (netns.NsHandle, error) {
	if fd == Current {
		own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return netns.NsHandle(own), err
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return netns.NsHandle(own), err
}

// dumpAttempts bounds how often an inconsistent dump is asked for again.
const dumpAttempts = 5

// dump repeats list while links change under it (NLM_F_DUMP_INTR).
func dump[T any](ctx context.Context, list func() (T, error)) (T, error) {
	var got T
	var err error
	for range dumpAttempts {
		if err := ctx.Err(); err != nil {
			return got, err
		}
		got, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
	}
	return got, fmt.Errorf("links kept changing: %w", err)
}

// byName finds a link; the error wraps ErrNotFound when there is none.
func (k *Kernel) byName(name string) (netlink.Link, error) {
	l, err := k.handle.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("find link %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	return l, nil
}

func (k *Kernel) list(ctx context.Context) ([]netlink.Link, error) {
	links, err := dump(ctx, k.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}
