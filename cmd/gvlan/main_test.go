package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gvlan/cmd/internal/datadir"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gvlan": main})
}

// TestScripts runs the command as a user does. Each script starts with an
// empty configuration file of its own, so that the machine's does not count.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GVLAN_CONFIG", env.WorkDir+"/empty.toml")
			return os.WriteFile(env.WorkDir+"/empty.toml", nil, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"hold": hold},
	})
}

// hold DIR keeps a data directory locked, as a running agent does.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold DIR")
	}
	dir, err := datadir.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { dir.Close() })
}

// TestSuccessorEndsAFailedPlugin: a managed plugin whose agent failed waits for
// Docker, and gives way to a successor meanwhile as one that runs does.
func TestSuccessorEndsAFailedPlugin(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // it waits 30 s by itself
	defer cancel()
	plugin := exec.CommandContext(ctx, "gvlan", "agent", "--swarm", "--config", os.DevNull, "--data-dir", t.TempDir())
	stderr, err := plugin.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := plugin.Start(); err != nil {
		t.Fatal(err)
	}
	printed := bufio.NewReader(stderr)
	line, _ := printed.ReadString('\n')
	if err := plugin.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
	rest, _ := io.ReadAll(printed)
	plugin.Wait()
	if !strings.Contains(line, "ends once Docker gives the plugin up") || plugin.ProcessState.ExitCode() != 2 {
		t.Errorf("printed %s%s and ended with %s, want it to wait, and exit status 2 on the signal", line, rest, plugin.ProcessState)
	}
}
