// Command host measures how fast a host and its own container talk over host access,
// both ways, beside what the kernel's macvlan does by itself: between two containers of
// the built-in driver, and, both ways, between one of them and a macvlan link with an
// address on the host, whose packets pass the host's firewall as those of host access do. With
// iperf3, one after the other in each round; the best of each counts, since what else
// runs on the machine only takes away. Names are off, whose rules in a container cost
// what they cost on any network. It prints lines
// "BENCH name value" and needs root and what tests/lab/install.sh installs:
//
//	go run ./tests/bench/host [-rounds 12]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"

	"gvlan/tests/lab"
)

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 12, "measurements of each")
	seconds := flag.Int("seconds", 1, "that each takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%d CPUs, %d rounds of %d s\n", runtime.NumCPU(), *rounds, *seconds)
	if err := run(ctx, *rounds, *seconds); err != nil {
		log.Fatal(err)
	}
}

// way is one that data goes: from a namespace's program to a server.
type way struct {
	name     string
	from, to string // container, or "" for the host
	address  string // of the server
}

func run(ctx context.Context, rounds, seconds int) error {
	binary, err := lab.Build(ctx, "gvlan/cmd/gvlan")
	if err != nil {
		return err
	}
	l, err := lab.Up(ctx, lab.Options{Hosts: lab.Same(1, lab.Docker20)}) // its root is this machine's, which has iperf3
	if err != nil {
		return err
	}
	defer l.Close()
	h := l.Hosts[0]
	if _, err := h.StartAgent(ctx, lab.AgentOptions{Binary: binary, Args: []string{"agent", "--node-name", h.Name}}); err != nil {
		return err
	}
	for _, args := range []string{
		"network create -d gvlan --ipam-driver gvlan --subnet 10.99.0.0/24 --ip-range 10.99.0.64/26 --gateway 10.99.0.254 -o parent=eth1 -o host-access=on -o dns=off gvlan",
		"network create -d macvlan --subnet 10.99.9.0/24 -o parent=eth1 macvlan",
		"run -d --name box --network gvlan --ip 10.99.0.70 busybox sleep 1000000",
		"run -d --name one --network macvlan --ip 10.99.9.71 busybox sleep 1000000",
		"run -d --name other --network macvlan --ip 10.99.9.72 busybox sleep 1000000",
	} {
		if _, err := h.Docker(ctx, strings.Fields(args)...); err != nil {
			return err
		}
	}
	if _, err := h.Exec(ctx, "sh", "-c", "ip link add m0 link eth1 type macvlan mode bridge && ip addr add 10.99.9.70/24 dev m0 && ip link set m0 up"); err != nil {
		return err
	}
	ways := []way{
		{"containers", "one", "other", "10.99.9.72"},
		{"kernel_to_container", "", "other", "10.99.9.72"},
		{"kernel_to_host", "other", "", "10.99.9.70"},
		{"to_container", "", "box", "10.99.0.70"},
		{"to_host", "box", "", h.Addr4.String()},
	}
	for _, w := range ways[1:] { // the first has the second's server
		line, err := inside(ctx, h, w.to)
		if err != nil {
			return err
		}
		if _, err := h.Start("iperf3-"+w.name, nil, line[0], append(line[1:], "iperf3", "-s", "-B", w.address)...); err != nil {
			return err
		}
	}
	measured := map[string][]float64{}
	for round := range rounds + 1 { // the first warms up, and waits for servers and host access
		for _, w := range ways {
			bits, err := measure(ctx, h, w, seconds)
			for round == 0 && err != nil && ctx.Err() == nil {
				bits, err = measure(ctx, h, w, seconds)
			}
			if err != nil {
				return err
			}
			if round > 0 {
				measured[w.name] = append(measured[w.name], bits)
			}
		}
	}
	for _, w := range ways {
		fmt.Printf("BENCH host_%s_mbit %.0f\n", w.name, slices.Max(measured[w.name])/1e6)
	}
	for _, w := range ways[3:] {
		for _, by := range []string{"kernel_" + w.name, "containers"} {
			fmt.Printf("BENCH host_%s_over_%s %.3f\n", w.name, by, slices.Max(measured[w.name])/slices.Max(measured[by]))
		}
	}
	return nil
}

// inside is the beginning of a command line that runs in a container's network
// namespace, or in the host's.
func inside(ctx context.Context, h *lab.Host, container string) ([]string, error) {
	if container == "" {
		return []string{"env"}, nil
	}
	pid, err := h.Docker(ctx, "inspect", "-f", "{{.State.Pid}}", container)
	if err != nil {
		return nil, err
	}
	return []string{"nsenter", "-t", strings.TrimSpace(pid), "-n"}, nil
}

// errSaidNothing: iperf3 tells its failures in its answer.
var errSaidNothing = errors.New("iperf3 measured nothing")

// measure sends as fast as it goes, and returns the bits a second that came.
func measure(ctx context.Context, h *lab.Host, w way, seconds int) (float64, error) {
	line, err := inside(ctx, h, w.from)
	if err != nil {
		return 0, err
	}
	out, err := h.Exec(ctx, line[0], append(line[1:], "iperf3", "-c", w.address, "-t", fmt.Sprint(seconds), "-J")...)
	var said struct {
		Error string
		End   struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if bad := json.Unmarshal([]byte(out), &said); bad != nil || said.End.Received.Bits == 0 {
		return 0, fmt.Errorf("%w on the way %s: %w: %s", errSaidNothing, w.name, errors.Join(err, bad), said.Error)
	}
	return said.End.Received.Bits, nil
}
