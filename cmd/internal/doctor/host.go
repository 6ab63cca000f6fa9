package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/doctor/firewall"
	"gvlan/cmd/internal/secretfile"
	"gvlan/driver/engine"
	"gvlan/driver/link"
	"gvlan/driver/netns"
)

// Real is the host that this process runs on, with the settings of its agent.
// Close lets go of the kernel and the engine.
func Real(c config.Config, version string) (h Host, closeIt func() error, err error) {
	name, err := os.Hostname()
	if err != nil {
		return Host{}, nil, fmt.Errorf("read the host's name: %w", err)
	}
	docker, err := engine.New(engine.Config{Socket: c.EngineSocket(), ReadTimeout: patience})
	if err != nil {
		return Host{}, nil, err
	}
	kernel, err := link.Open(link.Current, c.DriverName)
	if err != nil {
		return Host{}, nil, err
	}
	h = Host{
		Name: name, Version: version, Config: c,
		Kernel: kernel, Engine: docker, Agent: api.NewClient(c.StatusSocket),
		Files: os.DirFS("/"), Secret: secretfile.Check, Disk: disk{}, Firewall: firewall.Read, Run: run,
		Ask: askInSandbox, Answers: answers, Now: time.Now, Sleep: func(ctx context.Context, d time.Duration) { store.Sleep(ctx, d) },
	}
	return h, func() error { return errors.Join(kernel.Close(), docker.Close()) }, nil
}

// run returns what a program prints, and for one that fails what it says
// of that.
func run(ctx context.Context, program string, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && len(failed.Stderr) > 0 {
		return nil, fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return out, nil
}

// answers reports whether anybody listens on a unix socket.
func answers(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// disk is the host's.
type disk struct{}

func (disk) Free(folder string) (int64, error) {
	var at unix.Statfs_t
	if err := unix.Statfs(folder, &at); err != nil {
		return 0, fmt.Errorf("ask how much room is left for %s: %w", folder, err)
	}
	return int64(at.Bavail) * at.Bsize, nil
}

// flushes is how often a write is tried; the fastest counts, since what else is
// written at the time is not the disk's fault.
const flushes = 5

// Flush writes to a file without a name, which is gone with the descriptor.
func (disk) Flush(folder string) (time.Duration, error) {
	fd, err := unix.Open(folder, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, fmt.Errorf("try a write in %s: %w", folder, err)
	}
	defer unix.Close(fd)
	best := time.Duration(-1)
	for range flushes {
		began := time.Now()
		if _, err := unix.Pwrite(fd, make([]byte, 4096), 0); err != nil {
			return 0, fmt.Errorf("try a write in %s: %w", folder, err)
		}
		if err := unix.Fdatasync(fd); err != nil {
			return 0, fmt.Errorf("try a write in %s: %w", folder, err)
		}
		if took := time.Since(began); best < 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// dockersResolver is where programs in a container ask.
const dockersResolver = "127.0.0.11:53"

// askInSandbox asks in the namespace of a sandbox: the socket that is opened
// there stays there.
func askInSandbox(ctx context.Context, sandbox, name string, six bool) (addrs []netip.Addr, err error) {
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(strings.ToLower(name)), dns.TypeA)
	if six {
		question.SetQuestion(dns.Fqdn(strings.ToLower(name)), dns.TypeAAAA)
	}
	err = netns.Do(sandbox, func() error {
		client := &dns.Client{Timeout: 2 * time.Second}
		answer, _, err := client.ExchangeContext(ctx, question, dockersResolver)
		if err != nil {
			return err
		}
		for _, record := range answer.Answer {
			var ip net.IP
			switch r := record.(type) {
			case *dns.A:
				ip = r.A
			case *dns.AAAA:
				ip = r.AAAA
			}
			if a, ok := netip.AddrFromSlice(ip); ok {
				addrs = append(addrs, a.Unmap())
			}
		}
		return nil
	})
	return addrs, err
}
