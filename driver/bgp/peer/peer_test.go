package peer_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/driver/bgp/peer"
)

func TestParse(t *testing.T) {
	at := netip.MustParseAddrPort
	for text, want := range map[string]peer.Peer{
		"192.168.1.1,65000":                     {Address: at("192.168.1.1:179"), AS: 65000},
		"192.168.1.1:1179,4200000000":           {Address: at("192.168.1.1:1179"), AS: 4200000000},
		"fd00::1,65000,/etc/gvlan/bgp":          {Address: at("[fd00::1]:179"), AS: 65000, PasswordFile: "/etc/gvlan/bgp"},
		"[fd00::1]:1179,65000,/etc/gvlan/a,b":   {Address: at("[fd00::1]:1179"), AS: 65000, PasswordFile: "/etc/gvlan/a,b"},
		"[fd00::1], 1":                          {Address: at("[fd00::1]:179"), AS: 1},
		"fe80::1%eth0,65000":                    {Address: at("[fe80::1%eth0]:179"), AS: 65000},
		" 192.168.1.1 , 65000 , /etc/gvlan/bgp": {Address: at("192.168.1.1:179"), AS: 65000, PasswordFile: "/etc/gvlan/bgp"},
		"::ffff:192.168.1.1,65000":              {Address: at("192.168.1.1:179"), AS: 65000},
	} {
		got, err := peer.Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := peer.Parse(got.String()); err != nil || again != got {
			t.Errorf("Parse(%q) = %+v, %v: not the peer that is spelled so", got.String(), again, err)
		}
	}
	for text, want := range map[string]string{
		"":                         "does not say which AS",
		"192.168.1.1":              `"192.168.1.1" does not say which AS`,
		"router,65000":             `"router" is no address of a peer`,
		"fd00::1]:179,65000":       "is no address of a peer",
		"0.0.0.0,65000":            "no peer is at 0.0.0.0",
		"224.0.0.5,65000":          "no peer is at 224.0.0.5",
		"192.168.1.1:0,65000":      "no peer is at 192.168.1.1:0",
		"192.168.1.1,65000,":       "no file is named",
		"192.168.1.1,x":            `peer 192.168.1.1: "x" is no AS: give a number from 1 to 4294967294`,
		"192.168.1.1,0":            `"0" is no AS`,
		"192.168.1.1,4294967296":   `"4294967296" is no AS`,
		"192.168.1.1,23456":        "AS 23456 stands for numbers of four octets",
		"192.168.1.1,65535":        "AS 65535 is reserved",
		"192.168.1.1,4294967295":   "AS 4294967295 is reserved",
		"192.168.1.1,6500 1.1.1.1": `"6500 1.1.1.1" is no AS`,
	} {
		if got, err := peer.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %+v, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestSecret(t *testing.T) {
	long := strings.Repeat("x", 80)
	for _, test := range []struct {
		name, content string
		mode          os.FileMode
		want, refused string
	}{
		{name: "a line", content: " sesame \n", mode: 0o600, want: "sesame"},
		{name: "as long as can be", content: long, mode: 0o400, want: long},
		{name: "longer", content: long + "x", mode: 0o600, refused: "longer than 80 bytes"},
		{name: "empty", content: "\n", mode: 0o600, refused: "is empty: write"},
		{name: "two lines", content: "a\nb", mode: 0o600, refused: "more than one line"},
		{name: "missing", refused: "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "password")
			if test.mode != 0 {
				if err := os.WriteFile(path, []byte(test.content), test.mode); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, test.mode); err != nil {
					t.Fatal(err)
				}
			}
			p := peer.Peer{Address: netip.MustParseAddrPort("192.168.1.1:179"), AS: 65000, PasswordFile: path}
			got, err := p.Secret(os.ReadFile)
			if test.refused == "" {
				if err != nil || got != test.want {
					t.Errorf("Secret() = %q, %v; want %q", got, err, test.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.refused) || !strings.Contains(err.Error(), "BGP peer 192.168.1.1") {
				t.Errorf("Secret() = %q, %v; want an error with %q that names the peer", got, err, test.refused)
			}
			if err != nil && strings.Contains(err.Error(), "sesame") {
				t.Errorf("the error prints the password: %v", err)
			}
		})
	}
	if got, err := (peer.Peer{}).Secret(os.ReadFile); got != "" || err != nil {
		t.Errorf("without a file: %q, %v", got, err)
	}
}
