package option_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvlan/driver/option"

	"github.com/google/go-cmp/cmp"
)

func TestParseEndpointOptions(t *testing.T) {
	tests := []struct {
		name string
		raw  string // of CreateEndpoint
		mac  string // that Docker asks for
		want option.EndpointOptions
		err  string
	}{
		{name: "none", raw: `{}`},
		{name: "what Docker adds", raw: `{"com.docker.network.portmap":[],"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],"com.docker.network.endpoint.macaddress":"AkJCQkJC","com.docker.network.endpoint.dnsservers":["1.1.1.1"]}`, mac: "02:42:42:42:42:42"},
		{name: "MAC", raw: `{"com.docker.network.endpoint.macaddress":"02-AB-42-42-42-42"}`, want: option.EndpointOptions{MAC: "02:ab:42:42:42:42"}},
		{name: "MAC that is none", raw: `{"com.docker.network.endpoint.macaddress":"nonsense"}`, err: `driver-opt com.docker.network.endpoint.macaddress="nonsense" is none`},
		{name: "what Docker does", raw: `{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.log_martians=1","com.docker.network.advertise_addr_nmsgs":"2"}`},
		{name: "published", raw: `{"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostPort":8080}]}`, want: option.EndpointOptions{Unheeded: []string{"published ports (-p) have no effect: a container there is on the LAN with every port it listens on"}}},
		{name: "interface name", raw: `{"com.docker.network.endpoint.ifname":"lan0"}`, want: option.EndpointOptions{IfName: "lan0"}},
		{name: "bad interface name", raw: `{"com.docker.network.endpoint.ifname":"a/b"}`, err: `driver-opt com.docker.network.endpoint.ifname="a/b"`},
		{name: "long interface name", raw: `{"com.docker.network.endpoint.ifname":"sixteencharacter"}`, err: "up to 15"},
		{name: "interface name that is none", raw: `{"com.docker.network.endpoint.ifname":".."}`, err: `".."`},
		{name: "fixed address", raw: `{"gvlan.ip":"192.168.1.50"}`, want: option.EndpointOptions{Fixed: []netip.Addr{netip.MustParseAddr("192.168.1.50")}}},
		{name: "fixed addresses of both families, and failover", raw: `{"gvlan.ip":"192.168.1.50, fd00::50","gvlan.failover":"30s"}`, want: option.EndpointOptions{
			Fixed: []netip.Addr{netip.MustParseAddr("192.168.1.50"), netip.MustParseAddr("fd00::50")}, Failover: 30 * time.Second,
		}},
		{name: "fixed address that is none", raw: `{"gvlan.ip":"web"}`, err: `driver-opt gvlan.ip="web" is no list of addresses: give one like 192.168.1.50`},
		{name: "fixed address as a subnet", raw: `{"gvlan.ip":"192.168.1.50/24"}`, err: `driver-opt gvlan.ip="192.168.1.50/24" is no list of addresses`},
		{name: "fixed address with a zone", raw: `{"gvlan.ip":"fe80::1%eth0"}`, err: "is no list of addresses"},
		{name: "no fixed address", raw: `{"gvlan.ip":""}`, err: "is no list of addresses"},
		{name: "one fixed address twice", raw: `{"gvlan.ip":"192.168.1.50,192.168.1.50"}`, err: `gives 192.168.1.50 twice`},
		{name: "too many fixed addresses", raw: `{"gvlan.ip":"10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8,10.0.0.9"}`, err: `gives 9 addresses: give up to 8`},
		{name: "failover of nothing", raw: `{"gvlan.failover":"30s"}`, err: `give gvlan.ip=ADDRESS too`},
		{name: "failover that is none", raw: `{"gvlan.ip":"192.168.1.50","gvlan.failover":"soon"}`, err: `driver-opt gvlan.failover="soon" is no duration of at least 10s`},
		{name: "failover too soon", raw: `{"gvlan.ip":"192.168.1.50","gvlan.failover":"1s"}`, err: `of at least 10s: give one like 30s`},
		{name: "a word like one of ours", raw: `{"gvlan.ips":"1"}`, want: option.EndpointOptions{Unheeded: []string{"driver-opt gvlan.ips has no effect: did you mean gvlan.ip?"}}},
		{name: "unknown", raw: `{"xyzzy":"1"}`, want: option.EndpointOptions{Unheeded: []string{"driver-opt xyzzy has no effect: gvlan has no such option for a container"}}},
		{name: "unknown, with an escape", raw: `{"a\u001b[2Jb":"1"}`, want: option.EndpointOptions{Unheeded: []string{`driver-opt "a\x1b[2Jb" has no effect: gvlan has no such option for a container`}}},
		{name: "of networks", raw: `{"parent":"eth1"}`, want: option.EndpointOptions{Unheeded: []string{"driver-opt parent has no effect: it is an option of networks, docker network create -o"}}},
		{name: "a short name", raw: `{"ifname":"lan0"}`, want: option.EndpointOptions{Unheeded: []string{"driver-opt ifname has no effect: did you mean com.docker.network.endpoint.ifname?"}}},
		{name: "of another driver", raw: `{"com.docker.network.bridge.x":"1"}`, want: option.EndpointOptions{Unheeded: []string{"driver-opt com.docker.network.bridge.x has no effect on a network of gvlan's"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var raw map[string]any
			if err := json.Unmarshal([]byte(test.raw), &raw); err != nil {
				t.Fatal(err)
			}
			got, err := option.ParseEndpoint(raw, test.mac)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one that says %q", err, test.err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
				t.Errorf("options (-want +got):\n%s%v", diff, err)
			}
		})
	}
}

func TestParseMAC(t *testing.T) {
	for text, want := range map[string]string{
		"02:11:22:33:44:55":              "",
		"02-11-22-33-44-55":              "",
		"00:00:00:00:00:00":              "all zeros",
		"01:00:5e:00:00:01":              "multicast",
		"ff:ff:ff:ff:ff:ff":              "broadcast",
		"02:11:22:33:44":                 "6 bytes",
		"02:11:22:33:44:55:66:77":        "6 bytes",
		"":                               "6 bytes",
		"02:11:22:33:44:55 and so on":    "6 bytes",
		"0211.2233.4455":                 "",
		"\x1b[2J:00:00:00:00:00":         "6 bytes",
		"02:11:22:33:44:55\n02:11:22:33": "6 bytes",
	} {
		hw, err := option.ParseMAC(text)
		switch {
		case want == "" && (err != nil || hw.String() != "02:11:22:33:44:55"):
			t.Errorf("parseMAC(%q) = %s, %v", text, hw, err)
		case want != "" && (!errors.Is(err, option.ErrMAC) || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\x1b\n")):
			t.Errorf("parseMAC(%q): error %v, want one of %q", text, err, want)
		}
	}
}

func TestEnginesThatNameInterfaces(t *testing.T) {
	for version, want := range map[string]bool{
		"20.10.24+dfsg1": false, "28.5.2": false, "29.7.0": false, "29.8.0": true, "29.10.1": true, "30.0.0-rc.1": true, "": true, "master": true,
	} {
		if got := option.NamesInterfaces(version); got != want {
			t.Errorf("an engine %q names interfaces: %v, want %v", version, got, want)
		}
	}
}
