// Package packaging has what holds for what is handed to others: what is in the
// packages, that the same sources give the same bytes, and which version they have. It
// runs deploy/package/build.sh as a person does, with a small binary in place of gvlan.
package packaging

import (
	"archive/tar"
	"compress/gzip"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// epoch is the commit's time that the builds are told, in seconds: the last minute of a
// month in UTC, and of the next one further east.
const epoch = "1701388740"

// built runs build.sh of a tree, and returns the folder with what it made.
func built(t *testing.T, tree string, environ ...string) (out, printed string, err error) {
	t.Helper()
	out = t.TempDir()
	command := exec.CommandContext(t.Context(), filepath.Join(tree, "deploy/package/build.sh"), "release")
	command.Env = append(os.Environ(), append([]string{"ARCHS=amd64", "OUT=" + out, "SOURCE_DATE_EPOCH=" + epoch}, environ...)...)
	said, err := command.CombinedOutput()
	return out, string(said), err
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	command := exec.CommandContext(t.Context(), name, args...)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// TestRelease builds once in this tree, and once as somebody in another zone does in a
// copy of it that has no git, and looks at what is there.
func TestRelease(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "gvlan")
	run(t, "env", "CGO_ENABLED=0", "go", "build", "-C", root, "-trimpath", "-o", binary, "./cmd/manual") // which build.sh builds too
	out, printed, err := built(t, root, "VERSION=0.1.0", "BINARY="+binary)
	if err != nil {
		t.Fatalf("build.sh: %v\n%s", err, printed)
	}
	t.Run("files", func(t *testing.T) {
		want := []string{
			"SHA256SUMS", "gvlan-0.1.0-1.x86_64.rpm", "gvlan-plugin_0.1.0_amd64.tar.gz", "gvlan_0.1.0_amd64.deb",
			"gvlan_0.1.0_linux_amd64.cdx.json", "gvlan_0.1.0_linux_amd64.tar.gz",
		}
		if diff := cmp.Diff(want, names(t, out)); diff != "" {
			t.Errorf("released (-want +got):\n%s", diff)
		}
		check := exec.CommandContext(t.Context(), "sha256sum", "--strict", "--check", "SHA256SUMS")
		check.Dir = out
		said, err := check.CombinedOutput()
		if err != nil || strings.Count(string(said), ": OK\n") != len(want)-1 {
			t.Errorf("sha256sum --check: %v\n%s", err, said)
		}
	})
	deb, rpm := filepath.Join(out, "gvlan_0.1.0_amd64.deb"), filepath.Join(out, "gvlan-0.1.0-1.x86_64.rpm")
	t.Run("deb", func(t *testing.T) {
		if diff := cmp.Diff(contents("/lib/systemd/system", "/usr/share/zsh/vendor-completions"), someManual(t, inDeb(t, deb))); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		control := t.TempDir()
		run(t, "dpkg-deb", "-e", deb, control)
		if got := read(t, filepath.Join(control, "conffiles")); got != "/etc/gvlan/gvlan.toml\n" {
			t.Errorf("conffiles %q", got)
		}
		fields := read(t, filepath.Join(control, "control"))
		for _, want := range []string{"Package: gvlan\n", "Version: 0.1.0\n", "Architecture: amd64\n"} {
			if !strings.Contains(fields, want) {
				t.Errorf("control lacks %q:\n%s", want, fields)
			}
		}
		if strings.Contains(fields, "Depends:") {
			t.Errorf("it depends on something, which a host without a network lacks:\n%s", fields)
		}
		for _, script := range []string{"postinst", "prerm", "postrm"} {
			if got := read(t, filepath.Join(control, script)); got != read(t, filepath.Join(root, "deploy/package/deb", script)) {
				t.Errorf("%s is not deploy/package/deb/%s", script, script)
			}
		}
	})
	t.Run("rpm", func(t *testing.T) {
		got, conf := inRPM(t, rpm)
		if diff := cmp.Diff(contents("/usr/lib/systemd/system", "/usr/share/zsh/site-functions"), someManual(t, got)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"/etc/gvlan/gvlan.toml"}, conf); diff != "" {
			t.Errorf("configuration (-want +got):\n%s", diff)
		}
		scripts := run(t, "rpm", "-qp", "--scripts", rpm)
		for _, script := range []string{"post", "preun", "postun"} {
			if !strings.Contains(scripts, strings.TrimSpace(read(t, filepath.Join(root, "deploy/package/rpm", script)))) {
				t.Errorf("it lacks the script %s", script)
			}
		}
	})
	t.Run("plugin", func(t *testing.T) {
		got := inTar(t, filepath.Join(out, "gvlan-plugin_0.1.0_amd64.tar.gz"))
		for path, want := range map[string]string{"gvlan-plugin/config.json": "-rw-r--r--", "gvlan-plugin/rootfs/gvlan": "-rwxr-xr-x", "gvlan-plugin/rootfs/etc/machine-id": "-rw-r--r--"} {
			if got[path] != want {
				t.Errorf("%s has the mode %q, want %q", path, got[path], want)
			}
		}
	})
	t.Run("modules", func(t *testing.T) { everyModule(t, binary, filepath.Join(out, "gvlan_0.1.0_linux_amd64.cdx.json")) })
	t.Run("again", func(t *testing.T) {
		again, printed, err := built(t, copied(t), "VERSION=0.1.0", "BINARY="+binary, "TZ=Pacific/Kiritimati")
		if err != nil {
			t.Fatalf("build.sh: %v\n%s", err, printed)
		}
		if diff := cmp.Diff(read(t, filepath.Join(out, "SHA256SUMS")), read(t, filepath.Join(again, "SHA256SUMS"))); diff != "" {
			t.Errorf("a second build in another folder has other bytes (-first +second):\n%s", diff)
		}
	})
}

// manual is where the pages are, of which cmd/manual has a test.
const manual = "/usr/share/man/man1/"

// someManual counts the pages, and leaves two of them.
func someManual(t *testing.T, all map[string]string) map[string]string {
	t.Helper()
	pages := 0
	for path := range all {
		if strings.HasPrefix(path, manual) {
			pages++
		}
	}
	if pages < 50 {
		t.Errorf("%d manual pages, want at least 50", pages)
	}
	maps.DeleteFunc(all, func(path, _ string) bool {
		return strings.HasPrefix(path, manual) && path != manual+"gvlan.1.gz" && path != manual+"gvlan-network-create.1.gz"
	})
	return all
}

// contents are the files of a package, with their modes.
func contents(units, zsh string) map[string]string {
	const file = "-rw-r--r--"
	all := map[string]string{
		"/usr/bin/gvlan": "-rwxr-xr-x", units + "/gvlan.service": file, "/etc/gvlan/gvlan.toml": "-rw-------",
		"/usr/share/bash-completion/completions/gvlan": file, "/usr/share/fish/vendor_completions.d/gvlan.fish": file, zsh + "/_gvlan": file,
		manual + "gvlan.1.gz": file, manual + "gvlan-network-create.1.gz": file,
	}
	for _, doc := range []string{"README.md", "CHANGELOG.md", "SECURITY.md", "copyright", "alerts.yaml", "grafana.json"} {
		all["/usr/share/doc/gvlan/"+doc] = file
	}
	return all
}

// inDeb gives the modes of files that root owns and that have the commit's time.
func inDeb(t *testing.T, path string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(run(t, "sh", "-c", `TZ=UTC dpkg-deb -c "$1"`, "sh", path)) {
		f := strings.Fields(line)
		if len(f) != 6 || f[1] != "root/root" || f[3] != "2023-11-30" || f[4] != "23:59" {
			t.Errorf("%q is not root's, or has not the commit's time", line)
		} else if !strings.HasSuffix(f[5], "/") {
			all[strings.TrimPrefix(f[5], ".")] = f[0]
		}
	}
	return all
}

// inRPM gives the modes of files, likewise, and which are configuration.
func inRPM(t *testing.T, path string) (all map[string]string, conf []string) {
	t.Helper()
	all = map[string]string{}
	for line := range strings.Lines(run(t, "rpm", "-qp", "--qf", `[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILEMTIMES} %{FILEFLAGS:fflags}\n]`, path)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[2] != "root" || f[3] != "root" || f[4] != epoch {
			t.Errorf("%q is not root's, or has not the commit's time", line)
			continue
		}
		if !strings.HasPrefix(f[1], "d") {
			all[f[0]] = f[1]
		}
		if len(f) > 5 && strings.Contains(f[5], "c") && strings.Contains(f[5], "n") {
			conf = append(conf, f[0])
		}
	}
	return all, conf
}

// inTar gives the modes of what is in a .tar.gz.
func inTar(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for archive := tar.NewReader(plain); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = h.FileInfo().Mode().String()
	}
}

// everyModule compares a list of modules with what Go wrote into the binary.
func everyModule(t *testing.T, binary, path string) {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		BOMFormat  string
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal([]byte(read(t, path)), &list); err != nil || list.BOMFormat != "CycloneDX" {
		t.Fatalf("no list of CycloneDX: %q, %v", list.BOMFormat, err)
	}
	var got []string
	for _, c := range list.Components {
		got = append(got, c.Name+" "+c.Version)
	}
	if len(info.Deps) == 0 {
		t.Error("the binary has no modules")
	}
	for _, m := range info.Deps {
		if !slices.Contains(got, m.Path+" "+m.Version) {
			t.Errorf("%s %s is in the binary and not in the list", m.Path, m.Version)
		}
	}
}

// copied is a copy of this tree as it is now, without git.
func copied(t *testing.T) string {
	t.Helper()
	to := t.TempDir()
	run(t, "sh", "-c", `cd "$1" && git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - | tar -C "$2" -xf -`, "sh", root, to)
	return to
}

// TestRefusedReleases: neither what nobody can build again nor a version that has no
// chapter in the changelog is released.
func TestRefusedReleases(t *testing.T) {
	for version, why := range map[string]string{
		"9.9.9":                 `CHANGELOG.md does not close it with a heading "## [9.9.9] - DATE"`,
		"0.1.0+git.5.abc.dirty": "commit the changes",
		"0.1.0+dirty":           "commit the changes",
	} {
		out, printed, err := built(t, root, "VERSION="+version)
		if err == nil || !strings.Contains(printed, why) || len(names(t, out)) > 0 {
			t.Errorf("release of %s: error %v, printed %q; want that it is refused: %s", version, err, printed, why)
		}
	}
}

// TestShallowReleases: where commits are missing their count would sort a later version
// below an earlier one.
func TestShallowReleases(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "gvlan")
	from, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "git", "clone", "-q", "--depth", "1", "file://"+from, tree)
	for _, script := range []string{"build.sh", "version.sh"} { // as they are now
		path := filepath.Join("deploy/package", script)
		if err := os.WriteFile(filepath.Join(tree, path), []byte(read(t, filepath.Join(root, path))), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, printed, err := built(t, tree, "VERSION=0.1.0+git.1.abc")
	if err == nil || !strings.Contains(printed, "git fetch --unshallow") || len(names(t, out)) > 0 {
		t.Errorf("release of a shallow clone: error %v, printed %q", err, printed)
	}
}

// TestVersions goes through the life of a repository.
func TestVersions(t *testing.T) {
	tree := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) string {
		t.Helper()
		return run(t, "git", append([]string{"-C", tree, "-c", "user.name=t", "-c", "user.email=t@invalid", "-c", "commit.gpgsign=false"}, args...)...)
	}
	expect := func(want string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), filepath.Join(tree, "deploy/package/version.sh"))
		command.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "VERSION=") })
		got, err := command.Output()
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("version %q, %v; want %s", got, err, want)
		}
	}
	hash := func() string { return strings.TrimSpace(git("rev-parse", "--short=12", "HEAD")) }
	if err := os.MkdirAll(filepath.Join(tree, "deploy/package"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("deploy/package/version.sh", read(t, filepath.Join(root, "deploy/package/version.sh")))
	write("CHANGELOG.md", "## [Unreleased]\n\n## [0.1.0] - 2026-11-30\n\n## [0.0.9] - 2026-01-01\n")
	expect("0.1.0+unknown")

	git("init", "-q")
	git("add", ".")
	git("commit", "-qm", "one")
	sorted := []string{"0.1.0+git.1." + hash()}
	expect(sorted[0])
	write("new.go", "")
	expect(sorted[0] + ".dirty")
	git("add", ".")
	git("commit", "-qm", "two")
	sorted = append(sorted, "0.1.0+git.2."+hash())
	expect(sorted[1])
	git("tag", "v0.2.0")
	expect("0.2.0")
	write("new.go", "package x")
	expect("0.2.0+dirty")
	git("commit", "-qam", "three")
	sorted = append(sorted, "0.2.0", "0.2.0+git.3."+hash())
	expect(sorted[3])
	git("tag", "v0.3.0-rc.1")
	expect("0.3.0-rc.1")

	sorted = append(sorted, "0.3.0~rc.1", "0.3.0") // as nfpm writes it
	for i := range sorted[1:] {
		run(t, "dpkg", "--compare-versions", sorted[i], "lt", sorted[i+1])
	}
}

// TestScripts: the shell takes every script.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root, "deploy/p*/*.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"deb", "rpm"} {
		for _, name := range names(t, filepath.Join(root, "deploy/package", folder)) {
			scripts = append(scripts, filepath.Join(root, "deploy/package", folder, name))
		}
	}
	if len(scripts) < 10 {
		t.Errorf("only %d scripts", len(scripts))
	}
	for _, script := range scripts {
		run(t, "sh", "-n", script)
	}
}

// TestPurge runs the script over folders of a mount namespace's own: what the agent
// kept goes, also off a file system of its own; what a managed plugin of the same host
// has in /run/gvlan stays.
func TestPurge(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a mount namespace takes root") //nolint:forbidigo // not root
	}
	script, err := filepath.Abs(filepath.Join(root, "deploy/package/deb/postrm"))
	if err != nil {
		t.Fatal(err)
	}
	got := run(t, "unshare", "--mount", "sh", "-ec", `
		for folder in /etc /run /var/lib; do mount -t tmpfs none $folder; done
		mkdir -p /var/lib/gvlan /run/gvlan /etc/gvlan
		mount -t tmpfs none /var/lib/gvlan
		mkdir /var/lib/gvlan/identity
		touch /var/lib/gvlan/identity/node.key /run/gvlan/swarm.sock
		sh "$1" remove 2>/dev/null
		find /var/lib/gvlan /run/gvlan
		sh "$1" purge 2>/dev/null
		echo purged
		find /var/lib/gvlan /run/gvlan /etc`, "sh", script)
	const want = "/var/lib/gvlan\n/var/lib/gvlan/identity\n/var/lib/gvlan/identity/node.key\n/run/gvlan\n/run/gvlan/swarm.sock\n" +
		"purged\n/var/lib/gvlan\n/run/gvlan\n/run/gvlan/swarm.sock\n/etc\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is there after the removal and the purge (-want +got):\n%s", diff)
	}
}

// TestRemovalInAnImage: a root that is made on a host has that host's links and routes
// before it, and leaves them alone, also where it cannot tell for want of /proc (2); a
// host's own removal (1) does not.
func TestRemovalInAnImage(t *testing.T) {
	folder := t.TempDir()
	script := filepath.Join(folder, "prerm")
	text := strings.NewReplacer("/usr/bin/gvlan", "echo gvlan", "deb-systemd-invoke", "true").Replace(read(t, filepath.Join(root, "deploy/package/deb/prerm")))
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for said, want := range map[string]string{"0": "", "1": "gvlan cleanup\n", "2": ""} {
		if err := os.WriteFile(filepath.Join(folder, "ischroot"), []byte("#!/bin/sh\nexit "+said+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := run(t, "env", "PATH="+folder+":"+os.Getenv("PATH"), "sh", script, "remove"); got != want {
			t.Errorf("where ischroot ends with %s, prerm does %q, want %q", said, got, want)
		}
	}
}

// TestSettingsAreComments: the file that is installed changes no default.
func TestSettingsAreComments(t *testing.T) {
	for line := range strings.Lines(read(t, filepath.Join(root, "deploy/gvlan.toml"))) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			t.Errorf("deploy/gvlan.toml sets something: %s", line)
		}
	}
}

func names(t *testing.T, folder string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(fmt.Errorf("read what was built: %w", err))
	}
	return string(text)
}
