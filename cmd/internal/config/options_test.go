package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOptionsTable: every row has its own name and field, and a default that
// its own parser takes.
func TestOptionsTable(t *testing.T) {
	var c Config
	names, fields := map[string]bool{}, map[any]string{}
	for _, o := range options() {
		if names[o.Name] {
			t.Errorf("two options are called %s", o.Name)
		}
		names[o.Name] = true
		field := o.field(&c)
		if other, taken := fields[field]; taken {
			t.Errorf("%s and %s set the same field", o.Name, other)
		}
		fields[field] = o.Name
		if o.preset != "" {
			if err := assign(field, o.preset); err != nil {
				t.Errorf("default of %s: %v", o.Name, err)
			}
		}
		if strings.HasSuffix(o.usage, ".") || o.usage == "" {
			t.Errorf("usage of %s is no short sentence: %q", o.Name, o.usage)
		}
	}
}

// TestReferenceFile: deploy/gvlan.toml lists every setting. Written by
//
//	go run ./cmd/gvlan config reference --toml > deploy/gvlan.toml
func TestReferenceFile(t *testing.T) {
	committed := readRepo(t, "deploy/gvlan.toml")
	if diff := cmp.Diff(committed, ReferenceTOML()); diff != "" {
		t.Errorf("deploy/gvlan.toml (-committed +generated):\n%s", diff)
	}
}

// TestReferenceFileMeansItsDefaults: the file with every line switched on
// loads, and changes nothing that has a default.
func TestReferenceFileMeansItsDefaults(t *testing.T) {
	var live strings.Builder
	for line := range strings.Lines(ReferenceTOML()) {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") {
			line = line[1:]
		}
		live.WriteString(line)
	}
	path := filepath.Join(t.TempDir(), "gvlan.toml")
	if err := os.WriteFile(path, []byte(live.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := readConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options() {
		value, ok := file.values[o.Name]
		if !ok || value.line == 0 {
			t.Errorf("%s is not in the file, or has no line", o.Name)
		}
		if value.text != o.preset {
			t.Errorf("%s is %q in the file, its default is %q", o.Name, value.text, o.preset)
		}
	}
	if got := file.values["parents.networks.lan1"].text; got != "eth1" {
		t.Errorf("parents.networks.lan1 is %q, want eth1", got)
	}
}

// TestReadmeTable: cmd/gvlan/README.md has the table of settings as the binary
// prints it.
func TestReadmeTable(t *testing.T) {
	if !strings.Contains(readRepo(t, "cmd/gvlan/README.md"), Reference()) {
		t.Errorf("cmd/gvlan/README.md lacks the table of settings; put in what `gvlan config reference` prints:\n%s", Reference())
	}
}

func readRepo(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
