package parentfile_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/parentfile"
)

func TestForHost(t *testing.T) {
	table := parentfile.HostTable{
		Default:  "eth0,!eth9",
		Networks: map[string]string{"lan1": "bond0.65, eth1.65", "loop": "@host", "bad": "a/b", "none": ""},
	}
	for _, tt := range []struct {
		name, list, network string
		table               parentfile.HostTable
		want                string
		is                  error
		text                string
	}{
		{name: "by network name", list: "@host", network: "lan1", table: table, want: "bond0.65,eth1.65"},
		{name: "by default", list: "@host", network: "lan2", table: table, want: "eth0,!eth9"},
		{name: "among others", list: "bond1,@host,eth7", network: "lan2", table: table, want: "bond1,eth0,eth7,!eth9"},
		{name: "without @host", list: "eth0", network: "lan1", table: table, want: "eth0"},
		{name: "an empty table", list: "@host", network: "lan1", is: parentfile.ErrNoHostParent,
			text: `this host's agent configuration names no parent for network "lan1" and no default`},
		{name: "an empty table, with others to try", list: "@host,eth0", network: "lan1", want: "@host,eth0"},
		{name: "an empty entry", list: "@host", network: "none", table: table, is: parentfile.ErrNoHostParent,
			text: `this host's agent configuration names no parent for network "none" and no default`},
		{name: "a circle", list: "@host", network: "loop", table: table, is: parentfile.ErrNoHostParent,
			text: `this host's agent configuration answers @host with @host for network "loop": name an interface there`},
		{name: "nonsense", list: "@host", network: "bad", table: table,
			text: `read this host's parent for network "bad": parse parent candidate "a/b": an interface name has none of the characters / : ! @; a VLAN is written eth0.65`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(t, tt.list).ForHost(tt.table, tt.network)
			if tt.text != "" {
				if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
					t.Fatalf("ForHost = %v, want %v", err, tt.is)
				}
				if diff := cmp.Diff(tt.text, err.Error()); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
		})
	}
}
