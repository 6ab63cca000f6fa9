// Command dns measures what a name costs: CPU per query against a bare
// miekg/dns server in the same run, memory for 100,000 names, and what
// keeping 500 sandboxes alive takes. It prints lines "BENCH name value";
// ratios are medians over the rounds. It needs dnsperf, and root for the
// sandboxes:
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
	}
	return fmt.Errorf("part %q is not one of serve, memory and beat", args[0])
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
	return part("-seconds", strconv.Itoa(2*seconds), "beat", "500")
}

// report prints one figure.
func report(name string, value float64) { fmt.Printf("BENCH %s %.4g\n", name, value) }

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
