// Command dns measures what a name costs: CPU per query against a bare
// miekg/dns server in the same run, memory for 100,000 names, what keeping
// 500 sandboxes alive takes, a lookup inside a container against one that
// Docker's own resolver answers, and how soon five hosts know that a
// container came or went. It prints lines "BENCH name value"; ratios are
// medians over the rounds. It needs dnsperf, and for the sandboxes root and
// what tests/lab/install.sh installs:
//
//	go run ./tests/bench/dns [-rounds 5] [-seconds 5]
//
// A coredns on PATH is measured too.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"time"

	"gvlan/tests/lab"
)

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 5, "rounds per server, interleaved")
	seconds := flag.Int("seconds", 5, "seconds per round")
	flag.Parse()
	if err := run(*rounds, *seconds, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

// run does one part when args name it (that is how the parts are run in
// processes of their own), else everything.
func run(rounds, seconds int, args []string) error {
	if len(args) == 0 {
		return all(rounds, seconds)
	}
	switch args[0] {
	case "serve":
		return serve(args[1], args[2])
	case "memory":
		return memory()
	case "beat":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return fmt.Errorf("beat %s sandboxes: %w", args[1], err)
		}
		return beat(n, time.Duration(seconds)*time.Second)
	case "docker":
		return docker(lab.Release(args[1]))
	case "visible":
		return visible()
	}
	return fmt.Errorf("part %q is not one of serve, memory, beat, docker and visible", args[0])
}

func all(rounds, seconds int) error {
	if err := queries(rounds, seconds); err != nil {
		return err
	}
	if err := part("memory"); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		log.Print("sandboxes are not measured: that needs root")
		return nil
	}
	if err := part("-seconds", strconv.Itoa(2*seconds), "beat", "500"); err != nil {
		return err
	}
	for _, release := range []lab.Release{lab.Docker20, lab.Docker28} {
		if err := part("docker", string(release)); err != nil {
			return err
		}
	}
	return part("visible")
}

// report prints one figure.
func report(name string, value float64) { fmt.Printf("BENCH %s %.4g\n", name, value) }

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
