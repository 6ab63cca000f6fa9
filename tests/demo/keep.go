package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// The owner says on this descriptor that the demo went well.
const (
	playedFD = 3
	wentWell = "ok"
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
	if _, err := io.ReadFull(over, make([]byte, len(wentWell))); err != nil {
		return errors.Join(errors.New("the demo failed, see above"), owner.Wait())
	}
	return nil
}

// own plays the demo, says that it went well, and keeps the hosts until it is
// told to end.
func own(ctx context.Context) error {
	unix.CloseOnExec(playedFD) // what runs in the hosts must not hold it open
	played := os.NewFile(playedFD, "played")
	defer played.Close()
	d, err := newDemo(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.play(); err != nil {
		return err
	}
	if err := d.lively(); err != nil {
		return err
	}
	link, wait, err := d.see(ctx)
	if err != nil {
		return err
	}
	fmt.Printf(`
The hosts stay, with their engines and agents. From the project's folder, as root:
    enter a host:   eval "$(go run ./tests/lab/cmd/lab enter -lab %[1]s h1)"
    remove it all:  go run ./tests/lab/cmd/lab down %[1]s

See it at %[2]s (the link lets one browser in)

`, d.ID, link)
	if err := letGo(played); err != nil {
		return fmt.Errorf("say that the demo is over: %w", err)
	}
	<-ctx.Done()
	err = d.Close()
	wait()
	return err
}

// letGo says that the demo went well and leaves the terminal, or the pipe that
// the demo was started with, to others.
func letGo(played *os.File) error {
	nowhere, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer nowhere.Close()
	for _, fd := range []int{unix.Stdout, unix.Stderr} {
		if err := unix.Dup3(int(nowhere.Fd()), fd, 0); err != nil {
			return err
		}
	}
	_, err = played.WriteString(wentWell)
	return err
}
