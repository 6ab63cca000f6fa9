package agent

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"gvlan/cmd/internal/config"
)

func TestIdentify(t *testing.T) {
	const machine = "0123456789abcdef0123456789abcdef"
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tests := []struct {
		name      string
		config    config.Config
		machineID *fstest.MapFile
		want      string // node
		wantErr   string
	}{
		{name: "machine id", machineID: file(machine + "\n"), want: machine},
		{name: "given", config: config.Config{NodeName: "host1"}, machineID: file(machine), want: "host1"},
		{name: "given, no machine id", config: config.Config{NodeName: "host1"}, want: "host1"},
		{name: "managed plugin", config: config.Config{Swarm: true}, machineID: file(machine), want: machine + ".swarm"},
		{name: "managed plugin with a name", config: config.Config{Swarm: true, NodeName: "host1"}, want: "host1.swarm"},
		{name: "managed plugin, suffix given", config: config.Config{Swarm: true, NodeName: "host1.swarm"}, want: "host1.swarm"},
		{name: "no machine id", wantErr: "or give --node-name"},
		{name: "first boot of an image", machineID: file("uninitialized\n"), wantErr: `says "uninitialized"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{"proc/sys/kernel/random/boot_id": file("boot-uuid\n")}
			if test.machineID != nil {
				root["etc/machine-id"] = test.machineID
			}
			got, err := identify(test.config, "install-uuid", "host", root)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error is %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := identity{Node: test.want, Install: "install-uuid", Boot: "boot-uuid", Host: "host"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}
