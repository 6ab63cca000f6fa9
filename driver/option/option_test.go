package option_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"gvlan/driver/option"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/driver/link"
	"gvlan/parentfile"
)

// FuzzParseOptions: any map of options is refused in one plain line, or gives
// options that the kernel's links can be made of.
func FuzzParseOptions(f *testing.F) {
	for _, seed := range []string{
		"",
		"parent=bond0,  eth0,  eth1",
		"parent=eth0.65\nmacvlan_mode=bridge",
		"host_iface=eth0:10\n--macvlan_mode=vepa",
		"parent=default-route.65,en*,!docker*,subnet:fd00::/64,@host\nipvlan_mode=l3s\nipvlan_flag=private",
		"parent-file=/root/net1.toml\nkind=ipvlan\nmtu=9000\nscope=local\ngateway=none\ndns=off",
		"=bond0.65,eth3.65",
		"parent=,\ncom.docker.network.driver.mtu=1500\nRequestAddressType=x",
		"macvlan_mode=passthru\nipvlan_mode=l2",
		"mtu=67\nkind=bridge",
		"routes=10.0.0.0/8 via 192.168.1.2,fd01::/48 via fd00::2",
		"ipvlan_mode=l3\nroutes=10.0.0.0/8",
		"parent-file=a\rb",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		raw := map[string]string{}
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			raw[key] = value
		}
		o, err := option.Parse(raw)
		if err != nil {
			refusedPlainly(t, o, err)
			return
		}
		spec := link.Spec{Name: "gv1", Kind: o.Kind, Mode: o.Mode, Flag: o.Flag, Parent: "eth0", MTU: o.MTU}
		if err := spec.Check(); err != nil {
			t.Errorf("%q gives %+v: %v", raw, o, err)
		}
		if list, err := parentfile.Parse(o.Parent); err != nil || list.Empty() != (o.Parent == "") {
			t.Errorf("%q gives parent %q: %v, %v", raw, o.Parent, list, err)
		}
		if again, err := option.Parse(raw); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%q gives %+v, then %+v, %v", raw, o, again, err)
		}
	})
}

func refusedPlainly(t *testing.T, o option.Options, err error) {
	t.Helper()
	if !errors.Is(err, option.ErrInvalid) || !reflect.DeepEqual(o, option.Options{}) {
		t.Errorf("options %+v with error %v, want none and ErrInvalid", o, err)
	}
	if strings.ContainsAny(err.Error(), "\n\r\x00") {
		t.Errorf("refused in more than one plain line: %q", err)
	}
}

func TestParseOptions(t *testing.T) {
	macvlan := option.Options{Kind: link.Macvlan, Mode: link.Bridge}
	with := func(o option.Options, change func(*option.Options)) option.Options { change(&o); return o }
	tests := []struct {
		name string
		raw  map[string]string
		want option.Options
	}{
		{"nothing", nil, macvlan},
		{"parent", map[string]string{"parent": " bond0,  eth0, "}, with(macvlan, func(o *option.Options) { o.Parent = "bond0,  eth0," })},
		{"ipvlan by mode", map[string]string{"ipvlan_mode": "L3"}, option.Options{Kind: link.Ipvlan, Mode: link.L3, Flag: link.FlagBridge}},
		{"ipvlan by flag", map[string]string{"ipvlan_flag": "vepa"}, option.Options{Kind: link.Ipvlan, Mode: link.L2, Flag: link.FlagVEPA}},
		{"ipvlan by kind", map[string]string{"kind": "ipvlan"}, option.Options{Kind: link.Ipvlan, Mode: link.L2, Flag: link.FlagBridge}},
		{"passthru", map[string]string{"macvlan_mode": "passthru"}, option.Options{Kind: link.Macvlan, Mode: link.Passthru}},
		{"the oldest guide", map[string]string{"host_iface": "eth0", "--macvlan_mode": "bridge"}, with(macvlan, func(o *option.Options) { o.Parent = "eth0" })},
		{"Docker's own keys", map[string]string{"com.docker.network.driver.mtu": "9000", "com.docker.network.container_iface_prefix": "lan", "RequestAddressType": "x", "com.docker.network.advertise_addr_ms": "200"},
			with(macvlan, func(o *option.Options) { o.MTU, o.IfPrefix = 9000, "lan" })},
		{"one parent by two names", map[string]string{"parent": "eth0", "host_iface": "eth0 "}, with(macvlan, func(o *option.Options) { o.Parent = "eth0" })},
		{"both ways to say the mtu", map[string]string{"com.docker.network.driver.mtu": "1400", "mtu": "1400"}, with(macvlan, func(o *option.Options) { o.MTU = 1400 })},
		{"a bridge's keys", map[string]string{"com.docker.network.bridge.name": "br0"}, with(macvlan, func(o *option.Options) { o.Unheeded = []string{"com.docker.network.bridge.name"} })},
		{"mtu, scope, gateway, dns", map[string]string{"mtu": "9000", "scope": "local", "gateway": "none", "dns": "off"},
			with(macvlan, func(o *option.Options) { o.MTU, o.Scope, o.NoGateway, o.NoDNS = 9000, option.ScopeLocal, true, true })},
		{"host access", map[string]string{"host-access": "On"}, with(macvlan, func(o *option.Options) { o.HostAccess = option.HostAccessOn })},
		{"no host access where there could be none", map[string]string{"host-access": "off", "macvlan_mode": "private"},
			option.Options{Kind: link.Macvlan, Mode: link.Private, HostAccess: option.HostAccessOff}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := option.Parse(tt.raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(option.Options{}, "Old")); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseOptionsRefuses(t *testing.T) {
	tests := []struct {
		name string
		raw  map[string]string
		says []string
	}{
		{"a misspelt name", map[string]string{"parnet": "eth0"}, []string{"parnet", "did you mean parent?"}},
		{"a strange name", map[string]string{"xyzzy-plugh": "1"}, []string{"xyzzy-plugh", "parent-file"}},
		{"no name", map[string]string{"": "bond0.65,eth3.65"}, []string{"did you mean parent=bond0.65,eth3.65?"}},
		{"an unknown mode", map[string]string{"macvlan_mode": "bridged"}, []string{"macvlan_mode", `"bridged"`, "bridge, private, vepa, passthru"}},
		{"both modes", map[string]string{"macvlan_mode": "bridge", "ipvlan_mode": "l2"}, []string{"exclude each other"}},
		{"a mode of the other kind", map[string]string{"kind": "ipvlan", "macvlan_mode": "vepa"}, []string{"kind=ipvlan", "ipvlan_mode"}},
		{"parent and file", map[string]string{"parent": "eth0", "parent-file": "/x"}, []string{"parent-file", "exclude"}},
		{"a small mtu", map[string]string{"mtu": "12"}, []string{"mtu", `"12"`, "68"}},
		{"Docker's small mtu", map[string]string{"com.docker.network.driver.mtu": "x"}, []string{"com.docker.network.driver.mtu", `"x"`, "68"}},
		{"two mtus", map[string]string{"com.docker.network.driver.mtu": "1400", "mtu": "1500"}, []string{"mtu=1500", "com.docker.network.driver.mtu=1400", "give one"}},
		{"two spellings", map[string]string{"parent": "eth0", "host_iface": "eth1"}, []string{"-o host_iface=eth1 and -o parent=eth0 contradict each other: give parent="}},
		{"a prefix with a slash", map[string]string{"com.docker.network.container_iface_prefix": "a/b"}, []string{"container_iface_prefix", `"a/b"`}},
		{"a long prefix", map[string]string{"com.docker.network.container_iface_prefix": "fourteenletter"}, []string{"container_iface_prefix", "13"}},
		{"no prefix", map[string]string{"com.docker.network.container_iface_prefix": ""}, []string{"container_iface_prefix", `""`}},
		{"half host access", map[string]string{"host-access": "half"}, []string{"host-access", `"half"`, "on, off"}},
		{"host access of private links", map[string]string{"host-access": "on", "macvlan_mode": "private"}, []string{"host-access=on", "macvlan_mode=private", "bridge mode"}},
		{"host access of vepa links", map[string]string{"host-access": "on", "macvlan_mode": "vepa"}, []string{"host-access=on", "macvlan_mode=vepa", "bridge mode"}},
		{"host access by passthru", map[string]string{"host-access": "on", "macvlan_mode": "passthru"}, []string{"host-access=on", "macvlan_mode=passthru", "bridge mode"}},
		{"host access of private ipvlan", map[string]string{"host-access": "on", "ipvlan_flag": "private"}, []string{"host-access=on", "ipvlan_flag=private", "ipvlan_flag=bridge"}},
		{"host access of vepa ipvlan", map[string]string{"host-access": "on", "ipvlan_flag": "vepa"}, []string{"host-access=on", "ipvlan_flag=vepa", "ipvlan_flag=bridge"}},
		{"a gateway address", map[string]string{"gateway": "10.0.0.1"}, []string{"--gateway"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := option.Parse(tt.raw)
			if !errors.Is(err, option.ErrInvalid) {
				t.Fatalf("error %v, want ErrInvalid", err)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}
