// Command page measures how long people wait for the page of a large subnet: an
// agent in whose store 200 hosts have 10,000 containers' addresses in one /16 is
// looked at with chromium. It needs root, no Docker and no lab:
//
//	go run ./tests/bench/page [-nodes 200] [-leases 10000] [-rounds 21]
//
//	page_subnet_ms, ...     median time until the browser has loaded all of it
//	page_subnet_max_ms      the longest
//	page_subnet_cpu_ms      what the agent computed for it, on average
//	page_subnet_vs_blank    by how much that median exceeds that of a page that cannot be found: what is left is the browser's own
//	page_memory_mib         of the agent, once every page was loaded twice
//	page_memory_growth_mib  by which it grew until the end
//
// It fails if a median exceeds a second.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"gvlan/tests/bench/crowd"
	"gvlan/tests/browser"
)

// bar is how long a page may take.
const bar = time.Second

// looked are the pages by their names in figures; the first is the blank one.
var looked = []struct{ name, path string }{
	{"blank", "/nowhere"},
	{"networks", "/"},
	{"subnet", "/subnet?network=lan0&subnet=10.0.0.0/16"},
	{"block", "/subnet?network=lan0&subnet=10.0.0.0/16&at=10.0.4.0/22"},
	{"search", "/search?q=web-1234"},
	{"hosts", "/hosts"},
	{"names", "/names"},
	{"events", "/events"},
}

func main() {
	log.SetFlags(0)
	nodes := flag.Int("nodes", 200, "hosts")
	leases := flag.Int("leases", 10000, "addresses of containers")
	rounds := flag.Int("rounds", 21, "times each page is loaded")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, crowd.Size{Nodes: *nodes, Leases: *leases, Networks: 1}, *rounds); err != nil {
		log.Fatal("bench page: ", err)
	}
}

func run(ctx context.Context, s crowd.Size, rounds int) (retErr error) {
	agent, err := crowd.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, agent.Close()) }()
	if err := agent.Fill(ctx, s); err != nil {
		return fmt.Errorf("fill the store: %w", err)
	}
	site, err := browser.Serve(ctx, agent.Socket())
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, site.Close()) }()
	chromium, err := browser.Start(ctx, browser.Options{})
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, chromium.Close()) }()
	tab, err := chromium.Open(browser.Look{})
	if err != nil {
		return err
	}
	defer tab.Close()
	return measure(agent, tab, site.URL, rounds)
}

func measure(agent *crowd.Agent, tab *browser.Tab, home string, rounds int) error {
	var names []string
	paths := map[string]string{}
	for _, page := range looked {
		names = append(names, page.name)
		paths[page.name] = page.path
	}
	figures, memory, err := agent.Measure(rounds, names, func(name string) (time.Duration, error) {
		_, err := tab.Go(home + paths[name])
		return 0, err
	})
	if err != nil {
		return err
	}
	blank := figures[names[0]].Median
	for _, name := range names[1:] {
		f := figures[name]
		report(name+"_ms", crowd.Milliseconds(f.Median))
		report(name+"_max_ms", crowd.Milliseconds(f.Longest))
		report(name+"_cpu_ms", crowd.Milliseconds(f.Computed))
		report(name+"_vs_blank", float64(f.Median)/float64(blank))
	}
	report("memory_mib", memory.Before)
	report("memory_growth_mib", memory.Grown)
	return crowd.Within(bar, names[1:], figures)
}

// report prints one figure.
func report(name string, value float64) { fmt.Printf("BENCH page_%s %.4g\n", name, value) }
