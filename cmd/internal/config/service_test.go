package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// TestServiceFile is the one of the unit.
func TestServiceFile(t *testing.T) {
	unit, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "gvlan.service"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(unit), "\nEnvironmentFile=-"+ServiceFile+"\n") {
		t.Errorf("the unit does not read %s", ServiceFile)
	}
}

// TestServiceEnviron: what the agent's service is given counts for a command that
// looks at the agent's host, after what the command itself is given.
func TestServiceEnviron(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gvlan")
	text := "# GVLAN_DOMAIN=no\n;GVLAN_DNS=off\n\nGVLAN_GOSSIP_PORT=7000\nGVLAN_GOSSIP_PORT = 8000\nGVLAN_DATA_DIR=\"/data/gv lan\"\n  GVLAN_DRIVER_NAME='gv'\nGVLAN_LOG_LEVEL=debug\nno pair\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environ, err := ServiceEnviron(file, []string{"GVLAN_LOG_LEVEL=warn", "HOME=/root"})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(environ)
	want := []string{"GVLAN_DATA_DIR=/data/gv lan", "GVLAN_DRIVER_NAME=gv", "GVLAN_GOSSIP_PORT=8000", "GVLAN_LOG_LEVEL=warn", "HOME=/root"}
	if diff := cmp.Diff(want, environ); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	loaded, err := Load(pflag.NewFlagSet("", pflag.ContinueOnError), environ)
	if err != nil || loaded.Config.Gossip.Port != 8000 || loaded.Config.DataDir != "/data/gv lan" {
		t.Errorf("loaded %+v, %v", loaded.Config, err)
	}
	if environ, err = ServiceEnviron(filepath.Join(t.TempDir(), "none"), []string{"A=b"}); err != nil || !slices.Equal(environ, []string{"A=b"}) {
		t.Errorf("without a file: %q, %v", environ, err)
	}
	if _, err = ServiceEnviron(t.TempDir(), nil); err == nil {
		t.Error("a file that cannot be read is passed over")
	}
}
