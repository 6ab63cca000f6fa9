// Command ipam measures the address manager beside the store it stands on, and
// prints each figure as "BENCH name value", and at the end which of them have a
// bar and meet it. It needs root, no Docker, and a disk:
//
//	go run ./tests/bench/ipam [-dir /var/tmp] [-rounds 5] [-profile FILE] [ROOM ...]
//
// The rooms, all without one given:
//
//	single     one request at a time, beside a put and a create-if-absent; a container's life
//	many       64 at once, beside 64 puts at once; a fenced write is refused
//	spread     does it matter how full a subnet is, or how large
//	candidate  the choice alone, in a /8 at 99.9 %
//	nodes      16 nodes in one /24: filling it, churn at 95 %, its last address
//	foreign    1,000,000 leases of others in a /8
//	own        a start with 10,000 leases of this node's
//	drain      10,000 releases that the journal owes after an outage
//	refusals   100 requests a second on a full /16
//	socket     the agent's plugin socket, beside an empty request and a create-if-absent
//	beside     other ways to keep addresses in etcd
//
// P is clientv3's Put of a fresh key, T a transaction that creates one if it is
// absent, with values as long as a lease's. Both are from the same process as the
// allocators, over a connection of clientv3's own to the same port. etcd is
// a process of its own, which syncs as etcd does, and has its files on the same
// disk as the journals. What is compared is measured in turns; each figure is
// the median of its rounds.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

func main() {
	log.SetFlags(0)
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == serveWord:
		err = serve(os.Args[2], os.Args[3])
	case len(os.Args) > 1 && os.Args[1] == apartWord:
		err = run(os.Args[2:])
	default:
		os.Exit(apart(os.Args[1:]))
	}
	if err != nil {
		log.Fatal("bench ipam: ", err)
	}
}

// apartWord is the first argument of a run that has a network namespace of its own.
const apartWord = "apart"

// apart runs this program again in a network namespace of its own, so that the
// agents meet no link and no port of this host, and returns its exit status.
func apart(args []string) int {
	self, err := os.Executable()
	if err != nil {
		log.Print("bench ipam: ", err)
		return 1
	}
	signal.Ignore(os.Interrupt) // the run has it too, and ends
	again := exec.Command(self, append([]string{apartWord}, args...)...)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := again.Run(); again.ProcessState == nil {
		log.Print("bench ipam: ", err)
		return 1
	}
	return again.ProcessState.ExitCode()
}

// room is a part of the bench that can be run alone.
type room struct {
	name    string
	measure func(ctx context.Context, b *bench) error
}

func rooms() []room {
	return []room{
		onEtcd("single", single), onEtcd("many", many), onEtcd("spread", spread), {"candidate", candidate}, onEtcd("nodes", nodes),
		onEtcd("foreign", foreign), onEtcd("own", own), onEtcd("drain", drain), onEtcd("refusals", refusals), onEtcd("socket", socket), onEtcd("beside", beside),
	}
}

// onEtcd is a room with an etcd of its own.
func onEtcd(name string, measure func(ctx context.Context, b *bench, e *etcd) error) room {
	return room{name, func(ctx context.Context, b *bench) (retErr error) {
		e, err := b.etcd(ctx, name)
		if err != nil {
			return err
		}
		defer func() { retErr = errors.Join(retErr, e.close()) }()
		return measure(ctx, b, e)
	}}
}

// bench is one run.
type bench struct {
	dir    string // where the rooms have their folders
	rounds int
	report report
}

func run(args []string) (retErr error) {
	flags := flag.NewFlagSet("ipam", flag.ExitOnError)
	dir := flags.String("dir", "/var/tmp", "folder on the disk that is measured")
	rounds := flags.Int("rounds", 5, "rounds of each comparison")
	profile := flags.String("profile", "", "write FILE.cpu, FILE.mutex and FILE.block of the run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := loopback(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	base, err := os.MkdirTemp(*dir, "gvlan-bench-ipam-")
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, os.RemoveAll(base)) }()
	if err := onDisk(base); err != nil {
		return err
	}
	if *profile != "" {
		end, err := profiles(*profile)
		if err != nil {
			return err
		}
		defer func() { retErr = errors.Join(retErr, end()) }()
	}
	fmt.Printf("%d CPUs\n", runtime.NumCPU())
	b := &bench{dir: base, rounds: *rounds}
	for _, r := range rooms() {
		if flags.NArg() > 0 && !slices.Contains(flags.Args(), r.name) {
			continue
		}
		began := time.Now()
		if err := r.measure(ctx, b); err != nil {
			// What can be measured is.
			b.report.failed(r.name, err)
		}
		fmt.Printf("# %s took %.1f s\n", r.name, time.Since(began).Seconds())
		if ctx.Err() != nil {
			break
		}
	}
	return b.report.bars()
}

// loopback is down in a network namespace that is new.
func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// profiles begins to profile this process, for what misses its bar.
func profiles(path string) (end func() error, err error) {
	cpu, err := os.Create(path + ".cpu")
	if err != nil {
		return nil, err
	}
	runtime.SetMutexProfileFraction(1)
	runtime.SetBlockProfileRate(1)
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		return errors.Join(cpu.Close(), save(path, "mutex"), save(path, "block"))
	}, nil
}

func save(path, kind string) error {
	f, err := os.Create(path + "." + kind)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(pprof.Lookup(kind).WriteTo(w, 0), w.Flush(), f.Close())
}
