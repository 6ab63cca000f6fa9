package parentfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gvlan/parentfile"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, text      string
		macvlan, ipvlan string
		old             bool
	}{
		{name: "the guide's net1.toml", text: "[macvlan]\nversion = \"0.1\"\nparent = \"eth1\"\n", macvlan: "eth1"},
		{name: "the guide's vlan30.conf", text: "eth0.30\n", macvlan: "eth0.30", ipvlan: "eth0.30"},
		{name: "a bare assignment", text: `parent = "eth1"`, macvlan: "eth1", ipvlan: "eth1"},
		{name: "a list in a string", text: `parent = "bond0, eth1,"`, macvlan: "bond0,eth1", ipvlan: "bond0,eth1"},
		{name: "a list of strings", text: "parent = [\"bond0\", \"en*,!eno1\"]", macvlan: "bond0,en*,!eno1", ipvlan: "bond0,en*,!eno1"},
		{name: "both kinds", text: "[macvlan]\nparent=\"eth0\"\n[ipvlan]\nparent=\"eth1\"\n", macvlan: "eth0", ipvlan: "eth1"},
		{name: "a section over the top level", text: "version = 2\nparent=\"eth9\"\n[ipvlan]\nparent=\"eth1\"\n", macvlan: "eth9", ipvlan: "eth1"},
		{name: "the old word", text: "host_iface = \"eth0\"", macvlan: "eth0", ipvlan: "eth0", old: true},
		{name: "both words", text: "host_iface = \"eth0\"\nparent = \"eth1\"", macvlan: "eth1", ipvlan: "eth1"},
		{name: "comments, blank lines, CRLF and a byte order mark", text: "\xef\xbb\xbf# uplink\r\n\r\n  eth0.30  # trunk\r\neth9\r\n", macvlan: "eth0.30", ipvlan: "eth0.30"},
		{name: "a plain list", text: "bond0, eth1", macvlan: "bond0,eth1", ipvlan: "bond0,eth1"},
		{name: "a plain glob in brackets", text: "[eb]*", macvlan: "[eb]*", ipvlan: "[eb]*"},
		{name: "comments in TOML", text: "# parent = \"eth9\"\n[macvlan] # here\nparent = \"eth1\" # and there\n", macvlan: "eth1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, err := parentfile.Decode([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if file.Old != tt.old {
				t.Errorf("Old = %v, want %v", file.Old, tt.old)
			}
			for kind, want := range map[string]string{parentfile.Macvlan: tt.macvlan, parentfile.Ipvlan: tt.ipvlan} {
				list, err := file.List(kind)
				if (err == nil) != (want != "") {
					t.Errorf("List(%s) = %v", kind, err)
				}
				if diff := cmp.Diff(want, list.String()); diff != "" {
					t.Errorf("list for %s (-want +got):\n%s", kind, diff)
				}
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kernels := filepath.Join(dir, "kernels")
	if err := os.Symlink("/sys/class/net/lo/mtu", kernels); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	circle := filepath.Join(dir, "circle")
	if err := os.Symlink(circle, circle); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		is         error
		want       string // after "parent file PATH"
	}{
		{"missing", filepath.Join(dir, "none"), fs.ErrNotExist, " on node n1: the file does not exist; every host needs its own file at that path"},
		{"no path", "", parentfile.ErrFile, ` on node n1: the path is empty, use for example -o parent-file=/etc/gvlan/parent.toml`},
		{"relative", "net1.toml", parentfile.ErrFile, " on node n1: the path is relative, give the same absolute path on every host, such as /etc/gvlan/parent.toml"},
		{"directory", dir, parentfile.ErrFile, " on node n1: it is a directory, name a file in it"},
		{"file of /proc", "/proc/self/environ", parentfile.ErrFile, " on node n1: it is the kernel's own, and not a regular file"},
		{"link to one of /sys", kernels, parentfile.ErrFile, " on node n1: it is the kernel's own, and not a regular file"},
		{"FIFO", fifo, parentfile.ErrFile, " on node n1: it is not a regular file"},
		{"a link in a circle", circle, unix.ELOOP, " on node n1: it cannot be read: too many levels of symbolic links"},
		{"huge", write("huge", strings.Repeat("# comment\n", 7000)), parentfile.ErrFile, " on node n1: it is larger than 64 KiB, which no parent file is"},
		{"empty", write("empty", ""), parentfile.ErrFile, ` on node n1: it is empty, write for example parent = "eth0"`},
		{"comments alone", write("comments", "# one\n\n  # two\n"), parentfile.ErrFile, ` on node n1: it is empty, write for example parent = "eth0"`},
		{"commas alone", write("commas", "\n, ,\n"), parentfile.ErrFile, ` line 2 on node n1: it names no parent, write for example parent = "eth0"`},
		{"no quotes", write("quotes", "[macvlan]\nparent = eth1\n"), parentfile.ErrFile,
			` line 2 on node n1: it is not what TOML allows here; write for example parent = "eth0", the name in quotes`},
		{"a number", write("number", "\nparent = 1\n"), parentfile.ErrFile,
			` line 2 on node n1: it is not what TOML allows here; write for example parent = "eth0", the name in quotes`},
		{"a list of numbers", write("numbers", "parent = [1]\n"), parentfile.ErrFile,
			` line 1 on node n1: it is not what TOML allows here; write for example parent = "eth0", the name in quotes`},
		{"an escape that goes on in the next line", write("escape", "parent = \"eth0\\\neth1\"\n"), parentfile.ErrFile,
			` line 2 on node n1: it is not what TOML allows here; write for example parent = "eth0", the name in quotes`},
		{"an unknown key", write("key", "# paren\n[macvlan]\nparen = \"eth0\"\n"), parentfile.ErrFile,
			` line 3 on node n1: it has an unknown key; known are version and parent, at the top level or under [macvlan] or [ipvlan]`},
		{"an unknown section", write("section", "parent = \"eth0\"\n[bridge]\n"), parentfile.ErrFile,
			` line 2 on node n1: it has an unknown key; known are version and parent, at the top level or under [macvlan] or [ipvlan]`},
		{"an impossible name", write("name", "[ipvlan]\n\nparent = [\"eth0\", \"a/b\"]\n"), parentfile.ErrFile,
			` line 3 on node n1: a name cannot be one: an interface name has none of the characters / : ! @; a VLAN is written eth0.65`},
		{"an impossible plain name", write("plain", "\na/b\n"), parentfile.ErrFile,
			` line 2 on node n1: a name cannot be one: an interface name has none of the characters / : ! @; a VLAN is written eth0.65`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parentfile.Load(tt.path)
			var bad *parentfile.FileError
			if !errors.As(err, &bad) || !errors.Is(err, tt.is) {
				t.Fatalf("Load = %v, want a FileError that is %v", err, tt.is)
			}
			bad.Node = "n1"
			path := tt.path
			if path == "" {
				path = `""`
			}
			if diff := cmp.Diff("parent file "+path+tt.want, bad.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net1.toml")
	if err := os.WriteFile(path, []byte("[macvlan]\nparent = \"eth1\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := parentfile.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := file.List(parentfile.Macvlan); err != nil || list.String() != "eth1" {
		t.Errorf("List(macvlan) = %v, %v, want eth1", list, err)
	}
	_, err = file.List(parentfile.Ipvlan)
	want := "parent file " + path + ` on this host: it names no parent for ipvlan, add for example parent = "eth0" under [ipvlan]`
	if err == nil || err.Error() != want {
		t.Errorf("List(ipvlan) = %v, want %s", err, want)
	}
}

// Root reads everything, so the agent's want of permission needs another user.
func TestLoadWithoutPermission(t *testing.T) {
	var bad *parentfile.FileError
	err := asNobody(t, func() error {
		_, err := parentfile.Load("/etc/shadow")
		return err
	})
	if !errors.As(err, &bad) || !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("Load = %v, want a FileError that is %v", err, fs.ErrPermission)
	}
	if diff := cmp.Diff("the agent may not read it", bad.Text); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

// Whoever may create a network may name any file: no error tells what is in
// it, whatever it looks like.
func TestErrorsTellNothingOfTheFile(t *testing.T) {
	const secret = "s3cr3t"
	have := []parentfile.Interface{{Name: "eth0", Up: true}, {Name: "lo", Loopback: true}}
	for name, text := range map[string]string{
		"a shadow file":            "root:$6$s3cr3t$s3cr3t:19000:0:99999:7:::\n",
		"a token":                  "s3cr3t\n",
		"a token of two lines":     "s3cr3t.77\nmore s3cr3t\n",
		"an exclusion":             "!s3cr3t",
		"an exclusion that counts": "lo, !l[o]s3cr3t",
		"a VLAN":                   "s3cr3t.5000",
		"a VLAN of it":             "s3cr3t.50",
		"the default route":        "default-route.s3cr3t",
		"a subnet":                 "subnet:s3cr3t",
		"a glob":                   "s3cr3t*, [s3cr3t",
		"a pattern":                "s3cr3t*",
		"settings":                 "password = \"s3cr3t\"\n",
		"settings without quotes":  "password = s3cr3t\n",
		"a section":                "[s3cr3t]\nx = 1\n",
		"a half section":           "[s3cr3t\n",
		"a key":                    "s3cr3t = 1\n",
		"a parent":                 "parent = \"s3cr3t/\"",
		"a parent of another type": "parent = { s3cr3t = 1 }",
		"a date":                   "parent = 2020-13-45 s3cr3t",
		"a key twice":              "s3cr3t = 1\ns3cr3t = 2\n",
		"a PEM key":                "-----BEGIN s3cr3t-----\ns3cr3t=\n",
		"bytes":                    "\x00\x01s3cr3t\xff",
		"YAML":                     "key: s3cr3t\n",
		"an escape":                "parent = \"\\q s3cr3t\"",
	} {
		t.Run(name, func(t *testing.T) {
			file, err := parentfile.Decode([]byte(text))
			for _, kind := range []string{parentfile.Macvlan, parentfile.Ipvlan} {
				if err != nil {
					break
				}
				var list parentfile.List
				if list, err = file.List(kind); err == nil {
					_, err = parentfile.Resolve(list, have, kind)
				}
			}
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "root:") {
				t.Errorf("the error tells what is in the file: %v", err)
			}
		})
	}
}
