package kernel_test

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	driverlink "gvlan/driver/link"
	"gvlan/driver/link/linktest"
	"gvlan/tests/lab"
)

var (
	// lacking finds tests that met a kernel without a kind of link, and the kind:
	// see linktest.Lacks.
	lacking = regexp.MustCompile(`(?m)^=== ATTR +(\S+) ` + linktest.LacksKey + ` (\S+)$`)
	// skipped finds tests that did not run to their end.
	skipped = regexp.MustCompile(`(?m)^ *--- SKIP: (\S+)`)
)

// TestDriverPackages runs the tests of the packages that speak to the kernel
// on one that has every kind of link: none of them may be skipped there, nor
// see no more than a kernel that lacks something. How many do on this machine's
// own kernel is counted.
func TestDriverPackages(t *testing.T) {
	t.Parallel()
	for pkg, lacks := range map[string][]string{"link": lackingKinds(t), "netns": nil} {
		t.Run(pkg, func(t *testing.T) {
			binary := testBinary(t, "gvlan/driver/"+pkg)
			guest, err := lab.UML(t.Context(), lab.UMLOptions{Binary: binary, Args: []string{"-test.v"}})
			if err != nil {
				t.Fatal(err)
			}
			if guest.ExitCode != 0 || !strings.Contains(guest.Output, "--- PASS: ") {
				t.Errorf("tests in UML: exit code %d:\n%s", guest.ExitCode, guest.Output)
			}
			if diff := cmp.Diff([]string(nil), append(tests(skipped, guest.Output), tests(lacking, guest.Output)...)); diff != "" {
				t.Errorf("tests without their links in UML (-want +got):\n%s", diff)
			}
			here := runHere(t, binary)
			for _, kind := range lacks {
				if !strings.Contains(here, " "+linktest.LacksKey+" "+kind+"\n") {
					t.Errorf("this kernel has no %s links, and no test says that it missed them", kind)
				}
			}
			less := tests(lacking, here)
			t.Logf("all ran in UML; on this kernel %d lack a kind of link: %s", len(less), strings.Join(less, " "))
		})
	}
}

// lackingKinds are the kinds of link that this machine's kernel cannot make.
func lackingKinds(t *testing.T) []string {
	t.Helper()
	k, err := driverlink.Open(driverlink.Current, "gvlan")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	var lacks []string
	for _, kind := range []driverlink.Kind{driverlink.Dummy, driverlink.Ipvlan, driverlink.Macvlan, driverlink.VLAN} {
		if k.Supports(t.Context(), kind) != nil {
			lacks = append(lacks, string(kind))
		}
	}
	return lacks
}

// testBinary builds the tests of a package; where they run there is no Go.
func testBinary(t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), path.Base(pkg)+".test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v: %s", pkg, err, said)
	}
	return out
}

// runHere runs a test binary on this machine's kernel.
func runHere(t *testing.T, binary string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, "-test.v").CombinedOutput()
	if err != nil || len(tests(skipped, string(out))) > 0 {
		t.Errorf("tests on this kernel: %v:\n%s", err, out)
	}
	return string(out)
}

// tests are the names of the tests that a line of the output speaks of.
func tests(line *regexp.Regexp, output string) []string {
	var names []string
	for _, match := range line.FindAllStringSubmatch(output, -1) {
		names = append(names, match[1])
	}
	return slices.Compact(names)
}
