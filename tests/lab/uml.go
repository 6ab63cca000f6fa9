package lab

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed uml.sh
var umlInit string

// umlProgram is Debian's package user-mode-linux, kernel 6.1.
const umlProgram = "/usr/bin/linux.uml"

// umlHolder runs a UML kernel and ends it when standard input ends. It is process 1
// of a process namespace: the threads and children of the kernel end with it.
const umlHolder = `
	exec 3<&0
	"$@" </dev/null &
	uml=$!
	{ cat <&3 >/dev/null; kill -KILL $uml; } &
	wait $uml`

// umlGrace is what is left of a test's time for printing what a hanging kernel said.
const umlGrace = 5 * time.Second

// errUML says that the kernel ended before the program did.
var errUML = errors.New("the UML kernel did not report the program's end")

// UMLOptions says what to run in a User Mode Linux kernel.
type UMLOptions struct {
	// Binary is the program, as "go test -c" makes it.
	Binary string
	// Args are its arguments, as in "-test.v".
	Args []string
	// Env is added to its environment.
	Env []string
	// Mem is the kernel's memory as it takes it; "" is 2G, of which the machine gives
	// what is used.
	Mem string
	// Output gets what the program prints as it comes; nil is nobody.
	Output io.Writer
}

// UMLResult is how a program in UML ended.
type UMLResult struct {
	// Output is what it and the kernel printed.
	Output string
	// ExitCode is the program's.
	ExitCode int
}

// UML boots a kernel that has what this machine's may lack (802.1Q, dummy, ipvlan,
// bonding, macvlan, veth, bridge, overlay), as an ordinary process, and runs a program
// in it as root. The program sees this machine's files; what it writes is in memory.
// It has one CPU and no way out to a network. Labs can be made in it: UML has no NAT,
// which their engines then do without.
//
// The error is about the kernel; a program that failed has an ExitCode.
func UML(ctx context.Context, o UMLOptions) (_ UMLResult, err error) {
	if _, err := os.Stat(umlProgram); err != nil {
		return UMLResult{}, fmt.Errorf("find %s: %w", umlProgram, errNotInstalled)
	}
	l, err := register()
	if err != nil {
		return UMLResult{}, fmt.Errorf("register UML run: %w", err)
	}
	defer func() { err = errors.Join(err, remove(l.ID)) }()
	init, err := l.writeUML(o)
	if err != nil {
		return UMLResult{}, fmt.Errorf("prepare UML run: %w", err)
	}
	mem := o.Mem
	if mem == "" {
		mem = "2G"
	}
	pin, release, err := cpu()
	if err != nil {
		return UMLResult{}, fmt.Errorf("prepare UML run: %w", err)
	}
	defer release()
	line := append(pin, "unshare", "--pid", "--fork", "--kill-child", "sh", "-c", umlHolder, "uml",
		umlProgram, "mem="+mem, "rootfstype=hostfs", "rootflags=/", "rw", "init="+init, "quiet", "con=null", "con0=fd:0,fd:1")
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = l.env()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return UMLResult{}, fmt.Errorf("open lifeline of UML: %w", err)
	}
	defer lifeline.Close()
	console, err := l.newLog("console") // for who waits and wants to know what for
	if err != nil {
		return UMLResult{}, err
	}
	defer console.Close()
	var output bytes.Buffer
	copies := []io.Writer{console}
	if o.Output != nil {
		copies = append(copies, o.Output)
	}
	cmd.Stdout = &umlConsole{to: &output, copy: io.MultiWriter(copies...)}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); ctx.Err() != nil {
		return UMLResult{Output: output.String()}, fmt.Errorf("run UML: %w", errors.Join(ctx.Err(), err))
	}
	return umlResult(output.String())
}

// quote makes one word of a shell command line.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// umlResult reads the exit code off the last line of the output, which is the only
// way it gets out of the kernel.
func umlResult(output string) (UMLResult, error) {
	before, code, found := cutLast(output, "\numl.sh: exit ")
	r := UMLResult{Output: before}
	if !found {
		return r, fmt.Errorf("%w; it said: %s", errUML, tail(output, 2000))
	}
	code, _, _ = strings.Cut(code, "\n")
	n, err := strconv.Atoi(code)
	if err != nil {
		return r, fmt.Errorf("read exit code: %w", err)
	}
	r.ExitCode = n
	return r, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// umlConsole turns the console's line ends into plain ones.
type umlConsole struct {
	to   *bytes.Buffer
	copy io.Writer
}

func (c *umlConsole) Write(p []byte) (int, error) {
	plain := bytes.ReplaceAll(p, []byte("\r"), nil)
	c.to.Write(plain)
	if _, err := c.copy.Write(plain); err != nil {
		return 0, fmt.Errorf("pass on console output: %w", err)
	}
	return len(p), nil
}

// RunInUML runs this very test again inside a UML kernel and gives its verdict. It
// returns true inside the kernel: there the test goes on.
//
//	func TestX(t *testing.T) {
//		if !lab.RunInUML(t) {
//			return
//		}
//		... with VLAN, dummy, ipvlan and bonding
//	}
//
// Env is added to the environment inside. A test that is skipped there has failed:
// nobody would see it.
func RunInUML(t *testing.T, env ...string) bool {
	t.Helper()
	if os.Getenv(insideUML) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("UML needs root for its hostfs root") //nolint:forbidigo // not root
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("find test binary: %v", err)
	}
	ctx := t.Context()
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-umlGrace))
		defer cancel()
	}
	result, err := UML(ctx, UMLOptions{
		Binary: self,
		Args:   []string{"-test.run", "^" + t.Name() + "$", "-test.v"},
		Env:    append(env, insideUML+"=1"),
	})
	t.Logf("in UML:\n%s", result.Output)
	if err != nil {
		t.Fatal(err)
	}
	if result.ExitCode != 0 || strings.Contains(result.Output, "--- SKIP") {
		t.Fail()
	}
	return false
}

// insideUML is set in the environment of tests that run in a UML kernel.
const insideUML = "GVLAN_LAB_INSIDE_UML"

// cpu reserves a processor for one UML kernel, until release. Its processes take
// turns: every system call of one wakes the kernel's own process and back, which on
// one processor costs a third of what it does across two. Where all are reserved the
// kernel may run anywhere, and prefix is empty.
func cpu() (prefix []string, release func(), err error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, nil, fmt.Errorf("list processors: %w", err)
	}
	for n := range len(allowed) * 64 {
		if !allowed.IsSet(n) {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(base, fmt.Sprintf(".cpu%d.lock", n)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("reserve processor %d: %w", n, err)
		}
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return []string{"taskset", "-c", fmt.Sprint(n)}, func() { lock.Close() }, nil
		}
		lock.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil, fmt.Errorf("reserve processor %d: %w", n, err)
		}
	}
	return nil, func() {}, nil
}
