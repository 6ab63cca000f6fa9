// Command record writes down what Docker says to a network and IPAM plugin: it plays
// every scenario on a fresh host of each release with the recorder as plugin, and
// leaves one file for each in OUT/RELEASE/SCENARIO.jsonl.
//
//	go run ./tests/lab/record -out tests/docker/testdata/wire [-engine 28.5] [SCENARIO...]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"gvlan/tests/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := flag.String("out", "", "directory of the traces")
	engine := flag.String("engine", "", "only this release")
	at := flag.Int("parallel", 2, "scenarios played at once")
	flag.Parse()
	plugin, err := lab.Build(ctx, "gvlan/tests/lab/recorder")
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(*at)
	for _, release := range []lab.Release{lab.Docker20, lab.Docker28} {
		if *engine != "" && string(release) != *engine {
			continue
		}
		dir := filepath.Join(*out, string(release))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make output directory: %w", err)
		}
		for _, s := range scenarios() {
			if flag.NArg() > 0 && !slices.Contains(flag.Args(), s.name) {
				continue
			}
			group.Go(func() error {
				err := play(ctx, s, release, plugin, filepath.Join(dir, s.name+".jsonl"))
				if err != nil {
					return fmt.Errorf("play %s on %s: %w", s.name, release, err)
				}
				fmt.Println(release, s.name)
				return nil
			})
		}
	}
	return group.Wait()
}

// play plays a scenario in a lab of its own and keeps the trace.
func play(ctx context.Context, s scenario, release lab.Release, plugin, file string) error {
	host := lab.HostOptions{Release: release, LiveRestore: s.liveRestore}
	l, err := lab.Up(ctx, lab.Options{Hosts: []lab.HostOptions{host}})
	if err != nil {
		return err
	}
	defer l.Close()
	st, err := newStage(ctx, l, plugin)
	if err != nil {
		return err
	}
	defer st.trace.Close()
	st.note(s.about)
	s.play(st)
	if st.err != nil {
		return st.err
	}
	trace, err := os.ReadFile(st.trace.Name())
	if err != nil {
		return fmt.Errorf("read trace: %w", err)
	}
	return os.WriteFile(file, trace, 0o644)
}
