package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"gvlan/tests/lab"
)

// list prints all labs and their machines.
func list() error {
	states, err := lab.States()
	if err != nil {
		return err
	}
	for _, s := range states {
		print(s)
	}
	return nil
}

func describe(id string) error {
	s, err := find(id)
	if err != nil {
		return err
	}
	print(s)
	fmt.Printf("enter a machine:  eval \"$(lab enter h1)\"\nremove it all:    lab down %s\n", s.ID)
	return nil
}

func print(s lab.State) {
	owner := "dead, to be swept"
	if s.Owner.Alive() {
		owner = fmt.Sprintf("process %d", s.Owner.PID)
	}
	fmt.Printf("lab %s, owner %s\n", s.ID, owner)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, m := range s.Machines {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", m.Name, m.Addr, m.Release)
	}
	w.Flush()
}

// find gives the living lab of an id, or with no id the only living lab.
func find(id string) (lab.State, error) {
	states, err := lab.States()
	if err != nil {
		return lab.State{}, err
	}
	var found []lab.State
	for _, s := range states {
		if s.Owner.Alive() && (id == "" || id == s.ID) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return lab.State{}, fmt.Errorf("found %d running labs, want one: name it (lab ls)", len(found))
	}
	return found[0], nil
}

// enter prints a shell command that starts a shell inside a machine.
func enter(args []string) error {
	flags := flag.NewFlagSet("lab enter", flag.ContinueOnError)
	id := flags.String("lab", "", "id of the lab, when there are several")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := find(*id)
	if err != nil {
		return err
	}
	for _, m := range s.Machines {
		if m.Name == flags.Arg(0) {
			fmt.Println(strings.Join(m.Enter(), " "), `env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="$TERM" sh -l`)
			return nil
		}
	}
	return fmt.Errorf("lab %s has no machine %q", s.ID, flags.Arg(0))
}

// down asks the owner of a lab to remove it, and waits until it is gone.
func down(ctx context.Context, args []string) error {
	id := ""
	if len(args) > 0 {
		id = args[0]
	}
	s, err := find(id)
	if err != nil {
		return err
	}
	if err := syscall.Kill(s.Owner.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end owner %d of lab %s: %w", s.Owner.PID, s.ID, err)
	}
	for s.Owner.Alive() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return lab.Sweep()
}

func sweep() error {
	left, err := lab.Leftovers()
	if err != nil {
		return err
	}
	for _, what := range left {
		fmt.Println("removing", what)
	}
	return lab.Sweep()
}
