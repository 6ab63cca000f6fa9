package main

import (
	"os"
	"testing"

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
