// Command ask measures how long an operator waits for an answer: an agent with the
// store of its own, in which 200 hosts have 10,000 containers' addresses in ten
// networks and have told what happened, is asked by gvlan's own commands, typed
// one after the other. It needs root, no Docker and no lab:
//
//	go run ./tests/bench/ask [-nodes 200] [-leases 10000] [-rounds 11]
//
//	ask_lease_ls_ms, ...   median time from the start of the command to its end
//	ask_lease_ls_max_ms    the longest of them
//	ask_lease_ls_cpu_ms    what agent and command computed for it, on average: about what a quiet machine takes
//	ask_memory_mib         of the agent, once every command was typed twice
//	ask_memory_growth_mib  by which it grew until the end
//
// It fails if a median exceeds 200 ms.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"gvlan/tests/bench/crowd"
)

// bar is how long an answer may take.
const bar = 200 * time.Millisecond

// networks are how many the containers are in.
const networks = 10

// What one of the containers has.
const (
	someContainer = "web-1234"
	someAddress   = "10.4.0.133"
	someMAC       = "02:42:00:00:04:d2"
)

// commands are what operators type.
var commands = []string{
	"whois " + someAddress, "whois " + someMAC, "whois " + someContainer, "whois h7", "whois nobody-at-all",
	"lease ls", "lease ls --node h7", "lease show " + someAddress, "pool ls", "pool ls --wide",
	"status", "status --cluster", "network ls", "network inspect lan3", "node ls", "node inspect h7", "members", "events", "dns ls", "audit",
}

func main() {
	log.SetFlags(0)
	nodes := flag.Int("nodes", 200, "hosts")
	leases := flag.Int("leases", 10000, "addresses of containers")
	rounds := flag.Int("rounds", 11, "times each command is typed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, crowd.Size{Nodes: *nodes, Leases: *leases, Networks: networks}, *rounds); err != nil {
		log.Fatal("bench ask: ", err)
	}
}

func run(ctx context.Context, s crowd.Size, rounds int) (retErr error) {
	a, err := crowd.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := a.Close(); retErr == nil {
			retErr = err
		}
	}()
	if err := a.Fill(ctx, s); err != nil {
		return fmt.Errorf("fill the store: %w", err)
	}
	figures, memory, err := a.Measure(rounds, commands, func(command string) (time.Duration, error) { return a.Types(ctx, command) })
	if err != nil {
		return err
	}
	for _, command := range commands {
		f := figures[command]
		report(name(command)+"_ms", crowd.Milliseconds(f.Median))
		report(name(command)+"_max_ms", crowd.Milliseconds(f.Longest))
		report(name(command)+"_cpu_ms", crowd.Milliseconds(f.Computed))
	}
	report("memory_mib", memory.Before)
	report("memory_growth_mib", memory.Grown)
	return crowd.Within(bar, commands, figures)
}

// name is a command as the part of a figure's name.
func name(command string) string {
	of := map[string]string{someAddress: "address", someMAC: "mac", someContainer: "container", "h7": "host", "nobody-at-all": "nobody", "lan3": ""}
	var words []string
	for word := range strings.FieldsSeq(command) {
		if other, known := of[word]; known {
			word = other
		}
		if word = strings.Trim(word, "-"); word != "" {
			words = append(words, word)
		}
	}
	return strings.Join(words, "_")
}

// report prints one figure.
func report(name string, value float64) { fmt.Printf("BENCH ask_%s %.4g\n", name, value) }
