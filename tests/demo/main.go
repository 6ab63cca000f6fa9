// Command demo shows gvlan on two real Docker hosts, each step as a user would
// type it with what it really printed, and checks every step. Its last line is
// "demo: ok".
//
// It needs root and a machine prepared with tests/lab/install.sh; make demo
// does that. With DEMO_KEEP=1 the hosts stay when it is over, and it says how
// to enter them and how to remove them, and where their page is.
//
//	demo picture FILE    only takes a picture of the page, for README: make screenshot
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", strings.TrimSpace(err.Error()))
		os.Exit(1)
	}
	if len(os.Args) == 1 { // the owner is silent, and a picture is no demo
		fmt.Println("demo: ok")
	}
}

func run(ctx context.Context) error {
	switch {
	case isOwner():
		return own(ctx)
	case len(os.Args) == 3 && os.Args[1] == "picture":
		return picture(ctx, os.Args[2])
	case len(os.Args) > 1:
		return fmt.Errorf("%q: there is only picture FILE", os.Args[1:])
	case os.Getenv("DEMO_KEEP") == "1":
		return keep(ctx)
	}
	d, err := newDemo(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.play(); err != nil {
		return err
	}
	return d.Close()
}
