// Command networks measures what a network costs on real engines: how long
// after `docker network create` on one host every other host has it, and what
// a thousand definitions cost a host at its agent's start, beside what they cost
// the engine alone. It prints lines "BENCH name value" and needs root and what tests/lab/install.sh installs:
//
//	go run ./tests/bench/networks [-hosts 10] [-networks 30] [-definitions 1000]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"

	"gvlan/tests/lab"
)

func main() {
	log.SetFlags(0)
	hosts := flag.Int("hosts", 10, "hosts that a network appears on, its maker included")
	networks := flag.Int("networks", 30, "networks made one after the other")
	definitions := flag.Int("definitions", 1000, "definitions a host finds at its start; 0 leaves that out")
	release := flag.String("engine", string(lab.Docker28), "release of Docker")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%d CPUs, Docker %s\n", runtime.NumCPU(), *release)
	if err := run(ctx, lab.Release(*release), *hosts, *networks, *definitions); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, release lab.Release, hosts, networks, definitions int) error {
	if err := replicas(ctx, release, hosts, networks); err != nil {
		return fmt.Errorf("measure replicas: %w", err)
	}
	if definitions == 0 {
		return nil
	}
	if err := start(ctx, release, definitions); err != nil {
		return fmt.Errorf("measure a start: %w", err)
	}
	return nil
}

// report prints one figure.
func report(name string, value float64) { fmt.Printf("BENCH %s %.4g\n", name, value) }
