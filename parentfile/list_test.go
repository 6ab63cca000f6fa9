package parentfile_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/parentfile"
)

func TestParse(t *testing.T) {
	named := func(names ...string) parentfile.List {
		var l parentfile.List
		for _, n := range names {
			l.Candidates = append(l.Candidates, parentfile.Candidate{Text: n, Form: parentfile.Named, Name: n})
		}
		return l
	}
	one := func(c parentfile.Candidate) parentfile.List {
		return parentfile.List{Candidates: []parentfile.Candidate{c}}
	}
	for _, tt := range []struct {
		name, text string
		want       parentfile.List
	}{
		{"nothing", "", parentfile.List{}},
		{"lone commas", " , ,,", parentfile.List{}},
		{"one name", "eth0", named("eth0")},
		{"extra comma", "bond0,eth1,eth0,", named("bond0", "eth1", "eth0")},
		{"extra white space", "bond0,  eth1,\t eth0,\n", named("bond0", "eth1", "eth0")},
		{"white space alone", "bond0 eth1", named("bond0", "eth1")},
		{"VLANs", "bond0.65, eth3.65", named("bond0.65", "eth3.65")},
		{"dots and dashes in names", "br-lan.guest,veth.x-1", named("br-lan.guest", "veth.x-1")},
		{"an id no VLAN can have may still be a name", "eth0.5000", named("eth0.5000")},
		{"a name of another script", "größe", named("größe")},
		{"default route", "default-route", one(parentfile.Candidate{Text: "default-route", Form: parentfile.DefaultRoute})},
		{"VLAN of the default route", "default-route.65",
			one(parentfile.Candidate{Text: "default-route.65", Form: parentfile.DefaultRoute, Name: ".65"})},
		{"a name that begins like it", "default-router", named("default-router")},
		{"IPv4 subnet", "subnet:192.168.1.7/24",
			one(parentfile.Candidate{Text: "subnet:192.168.1.7/24", Form: parentfile.Subnet, Prefix: netip.MustParsePrefix("192.168.1.0/24")})},
		{"IPv6 subnet", "subnet:fd00::/64",
			one(parentfile.Candidate{Text: "subnet:fd00::/64", Form: parentfile.Subnet, Prefix: netip.MustParsePrefix("fd00::/64")})},
		{"glob", "en*.65", one(parentfile.Candidate{Text: "en*.65", Form: parentfile.Glob, Name: "en*.65"})},
		{"host", "@host", one(parentfile.Candidate{Text: "@host", Form: parentfile.Host})},
		{"old VLAN", "eth0:10", parentfile.List{
			Candidates: []parentfile.Candidate{{Text: "eth0:10", Form: parentfile.Named, Name: "eth0.10"}},
			Old:        []string{"eth0:10"},
		}},
		{"exclusions anywhere", "!eth1,en*,!docker*", parentfile.List{
			Candidates: []parentfile.Candidate{{Text: "en*", Form: parentfile.Glob, Name: "en*"}},
			Exclude:    []string{"eth1", "docker*"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parentfile.Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
			if got.Empty() != (len(tt.want.Candidates) == 0) {
				t.Errorf("Empty = %v", got.Empty())
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"exclusions alone", "!eth1", `parse parent list "!eth1": it only excludes interfaces, name one to use as well, for example "en*,!eth1"`},
		{"an exclusion of nothing", "eth0,!", `parse parent exclusion "!": an interface name is missing`},
		{"an address", "subnet:192.168.1.1", `parse parent candidate "subnet:192.168.1.1": a subnet looks like subnet:192.168.1.0/24 or subnet:fd00::/64`},
		{"a path", "/dev/eth0", `parse parent candidate "/dev/eth0": an interface name has none of the characters / : ! @; a VLAN is written eth0.65`},
		{"an alias", "eth0:web", `parse parent candidate "eth0:web": an interface name has none of the characters / : ! @; a VLAN is written eth0.65`},
		{"a VLAN of nothing", ":10", `parse parent candidate ":10": an interface name has none of the characters / : ! @; a VLAN is written eth0.65`},
		{"an unknown word", "@default", `parse parent candidate "@default": an interface name has none of the characters / : ! @; a VLAN is written eth0.65`},
		{"no VLAN of the default route", "default-route.x", `parse parent candidate "default-route.x": after default-route only VLAN ids may follow, as in default-route.65, each 1-4094`},
		{"no possible VLAN of it", "default-route.4095", `parse parent candidate "default-route.4095": after default-route only VLAN ids may follow, as in default-route.65, each 1-4094`},
		{"a broken glob", "eth[0", `parse parent candidate "eth[0": a glob looks like en* or eth[01]`},
		{"this directory", ".", `parse parent candidate ".": this cannot be an interface name`},
		{"too long", strings.Repeat("x", 128), `parse parent candidate "` + strings.Repeat("x", 128) + `": an interface name has at most 127 characters`},
		{"a control character", "eth\x010", `parse parent candidate "eth\x010": an interface name has no control characters`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parentfile.Parse(tt.text)
			if err == nil {
				t.Fatalf("Parse(%q) = nil", tt.text)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}
