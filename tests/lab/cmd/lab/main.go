// Command lab makes a lab to play in: Docker hosts on one LAN, on this machine.
//
//	lab up [-hosts 2] [-engine 28.5] [-etcd]   make a lab and leave it running
//	lab ls                                     list labs
//	lab enter [-lab ID] h1                     print the line that enters a machine
//	lab down [ID]                              remove a lab, or the only one
//	lab sweep                                  remove what dead labs left
//
// It needs root and a machine prepared with tests/lab/install.sh.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

var errUsage = errors.New("usage: lab up|ls|enter|down|sweep, see lab COMMAND -h")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", strings.TrimSpace(err.Error()))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	switch args[0] {
	case "up":
		return up(ctx, args[1:])
	case "own":
		return own(ctx, args[1:])
	case "ls":
		return list()
	case "enter":
		return enter(args[1:])
	case "down":
		return down(ctx, args[1:])
	case "sweep":
		return sweep()
	}
	return errUsage
}
