package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
)

// asGvlan has the program of these tests be gvlan: a process has one user.
const asGvlan = "GVLAN_TEST_IS_GVLAN"

func TestMain(m *testing.M) {
	if os.Getenv(asGvlan) == "" {
		os.Exit(m.Run())
	}
	agent := func(context.Context, config.Settings) error { return nil }
	os.Exit(Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr, "v1", agent))
}

// nobody is a user that owns nothing, and may read what everybody may.
const nobody = 65534

// TestWithoutRoot: who may not open the agent's socket is told to be root.
func TestWithoutRoot(t *testing.T) {
	program := filepath.Join(t.TempDir(), "gvlan")
	copyProgram(t, program)
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	var user *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		user = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	} else if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(closed, "gvlan.sock")
	for _, c := range asking(tree()) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			t.Parallel()
			args := append(append(path(c), arguments(c)...), "--status-socket", socket)
			if c.Name() == "join" {
				args = append(args, "gvlan1-x")
			}
			var out, stderr strings.Builder
			command := exec.CommandContext(t.Context(), program, args...)
			command.Env, command.Dir = []string{asGvlan + "=1", "GVLAN_CONFIG=" + os.DevNull}, "/"
			command.Stdout, command.Stderr, command.SysProcAttr = &out, &stderr, user
			err := command.Run()
			got := clitest.Typed{Out: out.String(), Err: stderr.String()}
			if ended, ok := errors.AsType[*exec.ExitError](err); ok {
				got.Status, err = ended.ExitCode(), nil
			}
			want := "gvlan: the agent's socket " + socket + " is root's: run this command as root\n"
			if err != nil || got.Status != frame.Failed || got.Out != "" || got.Err != want {
				t.Errorf("gvlan %s: %+v, %v", strings.Join(args, " "), got, err)
			}
		})
	}
}

// copyProgram puts this program where another user may run it.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	if err := os.Chmod(filepath.Dir(filepath.Dir(to)), 0o755); err != nil { // of T.TempDir, which is its user's
		t.Fatal(err)
	}
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	program, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(program, own); err != nil {
		t.Fatal(err)
	}
	if err := program.Close(); err != nil {
		t.Fatal(err)
	}
}
