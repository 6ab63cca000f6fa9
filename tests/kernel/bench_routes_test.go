//go:build bench

package kernel_test

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// benchStarts is how many containers each figure is of.
const benchStarts = 25

// TestBenchStartToReachable prints how long it takes from `docker start` on one host
// until another host reaches the container, and that as a ratio to the same on an l2
// network, where the LAN finds it: with a route of its own, and in a block that its
// host has. It is no test: the kernel is a slow one, and the ratios are what counts.
func TestBenchStartToReachable(t *testing.T) {
	if !inUML(t) {
		return
	}
	s := newSite(t, engines{lab.Docker28, lab.Docker28})
	p := newPlay(s.on(t), "")
	for i := range s.Hosts {
		s.sh(s.Hosts[i].Machine, fmt.Sprintf("ip addr add 192.168.1.%d/24 dev eth0", i+1))
	}
	p.rows(
		create("--subnet=10.99.0.0/24 --gateway=10.99.0.254 --ip-range=10.99.0.128/25 -o parent=eth1 -o ipvlan_mode=l2 flat"),
		create("--subnet=10.80.0.0/16 -o parent=eth0 -o ipvlan_mode=l3 --ipam-opt block=off single"),
		create("--subnet=10.81.0.0/16 -o parent=eth0 -o ipvlan_mode=l3 dealt"),
		run("first", "--net=dealt --ip=10.81.0.2"),
		sh("true", from("h2", later(reaches("10.81.0.2")))),
	)
	took := map[string][]time.Duration{}
	for n := range benchStarts {
		for network, addr := range map[string]string{
			"l2": fmt.Sprintf("10.99.0.%d", 150+n), "l3": fmt.Sprintf("10.80.0.%d", 10+n), "l3_block": fmt.Sprintf("10.81.0.%d", 10+n),
		} {
			name := map[string]string{"l2": "flat", "l3": "single", "l3_block": "dealt"}[network]
			took[network] = append(took[network], p.startToReachable(name, addr))
		}
	}
	for _, at := range []struct {
		called string
		part   int // of a hundred
	}{{"p50", 50}, {"p99", 99}} {
		base := percentile(took["l2"], at.part)
		for _, network := range []string{"l2", "l3", "l3_block"} {
			value := percentile(took[network], at.part)
			t.Logf("BENCH routes/start_to_reachable_%s_%s_ms %d", network, at.called, value.Milliseconds())
			if network != "l2" {
				t.Logf("BENCH routes/start_to_reachable_%s_over_l2_%s %.3f", network, at.called, value.Seconds()/base.Seconds())
			}
		}
	}
}

// startToReachable starts a container with that address on h1, while h2 pings it every
// 10 ms, and gives the time from the start until the first answer.
func (p *play) startToReachable(network, addr string) time.Duration {
	p.t.Helper()
	h1 := p.Hosts[0].Machine
	p.sh(h1, "docker create --name bench --net "+network+" --ip "+addr+" busybox sleep 1000000")
	defer p.sh(h1, "docker rm -f bench")
	ctx, stop := context.WithCancel(p.t.Context())
	defer stop()
	cmd := exec.CommandContext(ctx, "ping", "-n", "-D", "-i", "0.01", addr)
	out, err := cmd.StdoutPipe()
	p.fatal(err)
	p.fatal(p.place("h2").start(cmd))
	defer func() { stop(); _ = cmd.Wait() }()
	began := time.Now()
	p.sh(h1, "docker start bench")
	for lines := bufio.NewScanner(out); lines.Scan(); {
		at, rest, stamped := strings.Cut(strings.TrimPrefix(lines.Text(), "["), "] ")
		if !stamped || !strings.Contains(rest, "bytes from "+addr) {
			continue
		}
		seconds, err := strconv.ParseFloat(at, 64)
		p.fatal(err)
		return time.UnixMicro(int64(seconds * 1e6)).Sub(began)
	}
	p.t.Fatalf("ping %s has ended", addr)
	return 0
}

func percentile(all []time.Duration, part int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, len(sorted)*part/100)]
}
