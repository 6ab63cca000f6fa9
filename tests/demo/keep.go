package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// ownerArg makes this program the owner of the hosts that outlives the demo.
const ownerArg = "own"

func isOwner() bool { return len(os.Args) > 1 && os.Args[1] == ownerArg }

// keep plays the demo in a process of its own, which goes on holding the
// hosts when the demo is over.
func keep(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	over, played, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the owner of the hosts: %w", err)
	}
	defer over.Close()
	owner := exec.Command(self, ownerArg)
	owner.Stdout, owner.Stderr = os.Stdout, os.Stderr
	owner.ExtraFiles = []*os.File{played}
	owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = owner.Start()
	played.Close()
	if err != nil {
		return fmt.Errorf("start the owner of the hosts: %w", err)
	}
	leave := context.AfterFunc(ctx, func() { _ = owner.Process.Signal(syscall.SIGTERM) })
	defer leave()
	if said, err := io.ReadAll(over); err != nil || len(said) == 0 {
		return errors.Join(errors.New("the demo failed, see above"), err, owner.Wait())
	}
	return nil
}

// own plays the demo, says on descriptor 3 that it went well, and keeps the
// hosts until it is told to end.
func own(ctx context.Context) error {
	played := os.NewFile(3, "played")
	defer played.Close()
	d, err := newDemo(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.play(); err != nil {
		return err
	}
	fmt.Printf(`
The hosts stay, with their engines and agents. From the project's folder, as root:
    enter a host:   eval "$(go run ./tests/lab/cmd/lab enter -lab %[1]s h1)"
    remove it all:  go run ./tests/lab/cmd/lab down %[1]s

`, d.ID)
	if _, err := played.WriteString("ok"); err != nil {
		return fmt.Errorf("say that the demo is over: %w", err)
	}
	if err := played.Close(); err != nil {
		return fmt.Errorf("say that the demo is over: %w", err)
	}
	<-ctx.Done()
	return d.Close()
}
