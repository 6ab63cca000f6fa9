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
	"slices"
	"strings"
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

func measure(agent *crowd.Agent, tab *browser.Tab, home string, rounds int) (err error) {
	took, computed := map[string][]time.Duration{}, map[string]time.Duration{}
	var before float64
	for round := range rounds {
		if round == min(2, rounds-1) {
			if before, err = agent.MemoryMiB(); err != nil {
				return err
			}
		}
		for _, page := range looked {
			before, began := agent.Computed(), time.Now()
			if _, err := tab.Go(home + page.path); err != nil {
				return err
			}
			took[page.name] = append(took[page.name], time.Since(began))
			computed[page.name] += agent.Computed() - before
		}
	}
	var slow []string
	blank := median(took["blank"])
	for _, page := range looked[1:] {
		all := took[page.name]
		report(page.name+"_ms", ms(median(all)))
		report(page.name+"_max_ms", ms(slices.Max(all)))
		report(page.name+"_cpu_ms", ms(computed[page.name])/float64(rounds))
		report(page.name+"_vs_blank", ms(median(all))/ms(blank))
		if median(all) > bar {
			slow = append(slow, fmt.Sprintf("%s (%.0f ms)", page.path, ms(median(all))))
		}
	}
	after, err := agent.MemoryMiB()
	if err != nil {
		return err
	}
	report("memory_mib", before)
	report("memory_growth_mib", after-before)
	if len(slow) > 0 {
		return fmt.Errorf("longer than %s: %s", bar, strings.Join(slow, ", "))
	}
	return nil
}

func median(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// report prints one figure.
func report(name string, value float64) { fmt.Printf("BENCH page_%s %.4g\n", name, value) }
