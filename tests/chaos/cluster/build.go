package cluster

import (
	"context"
	"encoding/json"
	"fmt"

	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Patch changes the source of one build, in a copy: the text Old, which stands
// in File exactly once, becomes New.
type Patch struct {
	File string // below the module, or below GOROOT/src with a leading "$"
	Old  string
	New  string
}

// hurry shortens what the product waits for, so that minutes show what hours
// would: looks at the engine, the rest after an eviction. Everything keeps its
// order and its proportion to what it waits for.
var hurry = []Patch{
	{"driver/reconcile/reconcile.go", "ReconcileEvery = 20 * time.Second", "ReconcileEvery = 2 * time.Second"},
	{"driver/host/suspect.go", "SecondLook = 30 * time.Second", "SecondLook = 5 * time.Second"},
	{"driver/host/host.go", "ResyncEvery = 30 * time.Second", "ResyncEvery = 5 * time.Second"},
	{"cluster/store/lease.go", "QuarantineRest = 10 * time.Minute", "QuarantineRest = 12 * time.Second"},
	{"cluster/store/session/right.go", "const liveTTL = 15", "const liveTTL = 4"},
	{"ipam/evict/evict.go", "DefaultWait = 15 * time.Second", "DefaultWait = 4 * time.Second"},
	{"ipam/evict/quarantine.go", "endEvery = 10 * time.Second", "endEvery = 2 * time.Second"},
	{"cmd/internal/agent/recovery.go", "suspectLook = 2 * time.Second", "suspectLook = 500 * time.Millisecond"},
}

// plain has a managed plugin be an ordinary process, which sees its host's files
// where they are.
var plain = []Patch{{"cmd/internal/config/config.go", `const hostRoot = "/proc/1/root"`, `const hostRoot = "/"`}}

// clockPatches have the wall clock of the agent run off the machine's by what
// the file named in GVLAN_CHAOS_CLOCK says, in nanoseconds. The monotonic clock
// goes on as it was, as it does when somebody sets a host's date.
var clockPatches = []Patch{
	{"$time/time.go", "	sec, nsec, mono := runtimeNow()\n	if mono == 0 {\n		return Time{uint64(nsec), sec + unixToInternal, Local}", "	sec, nsec, mono := runtimeNow()\n	sec += ChaosJump\n	if mono == 0 {\n		return Time{uint64(nsec), sec + unixToInternal, Local}"},
	{"$time/time.go", "\nfunc Now() Time {", "\nfunc Now() Time {\n	// shifted by ChaosJump"},
}

// clockDeclaration and clockReader are files that the build of the agent adds.
const clockDeclaration = `package time

// ChaosJump is how far the wall clock is off, in seconds.
var ChaosJump int64
`

// leash is added to every program: it ends with the test that started it, however
// that one ends.
const leash = `package main

import (
	"io"
	"os"
)

func init() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}
`

const clockReader = `package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

func init() {
	path := os.Getenv("GVLAN_CHAOS_CLOCK")
	read := func() {
		raw, _ := os.ReadFile(path)
		if n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil {
			time.ChaosJump = n
		}
	}
	read()
	go func() {
		for {
			time.Sleep(50 * time.Millisecond)
			read()
		}
	}()
}
`

// Build compiles the agent with its times shortened, its clock movable and
// further patches, and returns the binary's path. Nothing of it is in the
// product: the compiler is given other texts in place of its files.
func Build(ctx context.Context, dir, name string, more ...Patch) (string, error) {
	over, err := patched(ctx, dir, name, more)
	if err != nil {
		return "", err
	}
	return over.build(ctx, "./cmd/gvlan", filepath.Join(dir, "gvlan-"+name), map[string]string{
		filepath.Join(over.goroot, "src/time/chaos.go"):      clockDeclaration,
		filepath.Join(over.root, "cmd/gvlan/chaos_clock.go"): clockReader,
		filepath.Join(over.root, "cmd/gvlan/chaos_leash.go"): leash,
	})
}

// Patched says what of the patches, or of those of every agent, does not fit the
// product as it is.
func Patched(ctx context.Context, dir, name string, more ...Patch) error {
	_, err := patched(ctx, dir, name, more)
	return err
}

func patched(ctx context.Context, dir, name string, more []Patch) (*overlay, error) {
	over, err := newOverlay(ctx, dir, name)
	if err != nil {
		return nil, err
	}
	for _, patches := range [][]Patch{hurry, plain, clockPatches, more} {
		for _, p := range patches {
			if err := over.patch(p); err != nil {
				return nil, err
			}
		}
	}
	return over, nil
}

// BuildEtcd compiles etcd.
func BuildEtcd(ctx context.Context, dir string) (string, error) {
	over, err := newOverlay(ctx, dir, "etcd")
	if err != nil {
		return "", err
	}
	return over.build(ctx, "./tests/lab/etcd", filepath.Join(dir, "etcd"), map[string]string{
		filepath.Join(over.root, "tests/lab/etcd/chaos_leash.go"): leash,
	})
}

func compile(ctx context.Context, root, out, pkg string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", pkg, err, said)
	}
	return nil
}

// goSays is one line of the toolchain's.
func goSays(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// overlay is what `go build -overlay` reads.
type overlay struct {
	root, goroot, dir string
	Replace           map[string]string // the compiler's path -> the copy's
}

// newOverlay has nothing to replace yet.
func newOverlay(ctx context.Context, dir, name string) (*overlay, error) {
	root, err := goSays(ctx, "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	goroot, err := goSays(ctx, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	o := &overlay{root: root, goroot: goroot, dir: filepath.Join(dir, "overlay-"+name), Replace: map[string]string{}}
	return o, os.MkdirAll(o.dir, 0o755)
}

// build compiles a program with what is replaced and these files added.
func (o *overlay) build(ctx context.Context, pkg, binary string, added map[string]string) (string, error) {
	for path, text := range added {
		if err := o.put(path, text); err != nil {
			return "", err
		}
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	list := filepath.Join(o.dir, "overlay.json")
	if err := os.WriteFile(list, raw, 0o644); err != nil {
		return "", err
	}
	return binary, compile(ctx, o.root, binary, pkg, "-overlay", list)
}

func (o *overlay) patch(p Patch) error {
	path := filepath.Join(o.root, p.File)
	if std, ok := strings.CutPrefix(p.File, "$"); ok {
		path = filepath.Join(o.goroot, "src", std)
	}
	from := path
	if copied, ok := o.Replace[path]; ok {
		from = copied
	}
	raw, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("patch %s: %w", p.File, err)
	}
	if n := strings.Count(string(raw), p.Old); n != 1 {
		return fmt.Errorf("patch %s: %q stands there %d times, want once: the product changed, and this patch has to follow", p.File, p.Old, n)
	}
	return o.put(path, strings.Replace(string(raw), p.Old, p.New, 1))
}

func (o *overlay) put(path, text string) error {
	copied := filepath.Join(o.dir, strings.NewReplacer("/", "_", "$", "").Replace(strings.TrimPrefix(path, "/"))+".txt")
	o.Replace[path] = copied
	return os.WriteFile(copied, []byte(text), 0o644)
}
