// Command run measures what a container's start costs on one engine: `docker
// run -d` on a gvlan network, on one that asks no LAN (probe=off), on one of the built-in macvlan and on the default
// bridge, one after the other in each round. It prints lines "BENCH name value"
// and needs root and what tests/lab/install.sh installs:
//
//	go run ./tests/bench/run [-rounds 40]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"time"

	"gvlan/tests/lab"
)

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 40, "containers on each network")
	release := flag.String("engine", string(lab.Docker28), "release of Docker")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%d CPUs, Docker %s, %d rounds\n", runtime.NumCPU(), *release, *rounds)
	if err := run(ctx, lab.Release(*release), *rounds); err != nil {
		log.Fatal(err)
	}
}

// networks are what containers are started on; one that says how is made.
var networks = []struct {
	name string
	make []string // arguments of docker network create
}{
	{"gvlan", []string{"-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.99.8.0/24", "-o", "parent=eth1", "gvlan"}},
	{"unasked", []string{"-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.99.7.0/24", "--ipam-opt", "probe=off", "-o", "parent=eth1", "unasked"}},
	{"macvlan", []string{"-d", "macvlan", "--subnet", "10.99.9.0/24", "-o", "parent=eth1", "macvlan"}},
	{"bridge", nil},
}

func run(ctx context.Context, release lab.Release, rounds int) error {
	binary, err := lab.Build(ctx, "gvlan/cmd/gvlan")
	if err != nil {
		return err
	}
	l, err := lab.Up(ctx, lab.Options{Hosts: lab.Same(1, release)})
	if err != nil {
		return err
	}
	defer l.Close()
	h := l.Hosts[0]
	if _, err := h.StartAgent(ctx, lab.AgentOptions{Binary: binary, Args: []string{"agent", "--node-name", h.Name}}); err != nil {
		return err
	}
	for _, n := range networks {
		if n.make == nil {
			continue
		}
		if _, err := h.Docker(ctx, append([]string{"network", "create"}, n.make...)...); err != nil {
			return err
		}
	}
	took := map[string][]time.Duration{}
	for round := range rounds + 2 { // the first two warm up
		for _, n := range networks {
			d, err := start(ctx, h, n.name)
			if err != nil {
				return err
			}
			if round >= 2 {
				took[n.name] = append(took[n.name], d)
			}
		}
	}
	for _, n := range networks {
		fmt.Printf("BENCH docker_run_%s_p50_ms %.4g\n", n.name, milliseconds(middle(took[n.name])))
	}
	fmt.Printf("BENCH docker_run_over_macvlan %.4g\n", ratio(took["gvlan"], took["macvlan"]))
	fmt.Printf("BENCH docker_run_asking_over_probe_off %.4g\n", ratio(took["gvlan"], took["unasked"]))
	fmt.Printf("BENCH docker_run_macvlan_over_bridge %.4g\n", ratio(took["macvlan"], took["bridge"]))
	return nil
}

// start starts a container and removes it, and returns how long the start took.
func start(ctx context.Context, h *lab.Host, network string) (time.Duration, error) {
	began := time.Now()
	id, err := h.Docker(ctx, "run", "-d", "--network", network, "busybox", "sleep", "1000")
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	_, err = h.Docker(ctx, "rm", "-f", id)
	return took, err
}

func middle(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func ratio(a, b []time.Duration) float64 { return float64(middle(a)) / float64(middle(b)) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
