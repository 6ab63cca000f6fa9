package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// part runs another part of this program and waits for it.
func part(args ...string) error {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("measure %v: %w", args, err)
	}
	return nil
}

// process is a server under load.
type process struct {
	cmd  *exec.Cmd
	hold io.Closer // its standard input: it ends when this closes
	addr string
}

// start starts a command that prints the address it answers at.
func start(name string, args ...string) (*process, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd: cmd, hold: hold}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("start %s %v: it named no address: %w", name, args, err)
	}
	p.addr = line[:len(line)-1]
	return p, nil
}

func (p *process) stop() {
	p.hold.Close()
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// tick is the unit of /proc/PID/stat's times: USER_HZ, 100 on every
// architecture Go runs on.
const tick = time.Second / 100

// cpu returns the time a process has run so far, see proc_pid_stat(5).
func cpu(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	var total time.Duration
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read time of process %d: %w", pid, err)
		}
		total += time.Duration(n) * tick
	}
	return total, nil
}
