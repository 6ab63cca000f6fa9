package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"gvlan/driver/bgp/peer"
)

// TestPeersFromEverywhere: a peer has commas, and yet a list of them is one value of
// a flag, a variable or a key.
func TestPeersFromEverywhere(t *testing.T) {
	want := BGP{AS: 65001, Peers: []peer.Peer{
		{Address: netip.MustParseAddrPort("192.168.1.1:179"), AS: 65000, PasswordFile: "/etc/gvlan/bgp"},
		{Address: netip.MustParseAddrPort("[fd00::1]:1179"), AS: 65002},
	}}
	file := filepath.Join(t.TempDir(), "gvlan.toml")
	if err := os.WriteFile(file, []byte("bgp-as = 65001\nbgp-peer = [\"192.168.1.1,65000,/etc/gvlan/bgp\", \"[fd00::1]:1179,65002\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]sources{
		"flag":     {flags: flagsOf(t, "--bgp-as=65001", "--bgp-peer", "192.168.1.1,65000,/etc/gvlan/bgp", "--bgp-peer=[fd00::1]:1179,65002")},
		"one flag": {flags: flagsOf(t, "--bgp-as=65001", "--bgp-peer", "192.168.1.1,65000,/etc/gvlan/bgp; [fd00::1]:1179,65002;")},
		"variable": {flags: flagsOf(t), environ: []string{"GVLAN_BGP_AS=65001", "GVLAN_BGP_PEER=192.168.1.1,65000,/etc/gvlan/bgp;[fd00::1]:1179,65002"}},
		"file":     {flags: flagsOf(t, "--config", file)},
	} {
		loaded, err := from.load()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, loaded.Config.BGP, cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for text, refused := range map[string]string{
		"bgp-as = \"0\"\n": `bgp-as: "0" is no AS`, "bgp-peer = [\"192.168.1.1,1;192.168.1.2,1\"]\n": "is no item of a list", "bgp-peer = \"192.168.1.1\"\n": "does not say which AS",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := sources{flags: flagsOf(t, "--config", file)}.load()
		if err == nil || !strings.Contains(err.Error(), refused) || !strings.Contains(err.Error(), file+":1") {
			t.Errorf("%s: %v, want an error with %q and the line", text, err, refused)
		}
	}
}

// TestPeersPasswords are read when the agent starts; a managed plugin reads them from
// its host's files.
func TestPeersPasswords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	given := []peer.Peer{{Address: netip.MustParseAddrPort("192.168.1.1:179"), AS: 65000, PasswordFile: path}}
	c := Config{BGP: BGP{AS: 65001, Peers: given}}
	if err := c.ReadSecrets(); err != nil || c.BGP.Peers[0].Password != "sesame" {
		t.Errorf("read %+v, %v", c.BGP.Peers, err)
	}
	c.Swarm = true
	c.OnHost()
	if got := c.BGP.Peers[0].PasswordFile; got != hostRoot+path || given[0].PasswordFile != path {
		t.Errorf("the plugin reads %s, the settings say %s", got, given[0].PasswordFile)
	}
	c.BGP.Peers[0].PasswordFile = path + ".none"
	if err := c.ReadSecrets(); err == nil || !strings.Contains(err.Error(), "BGP peer 192.168.1.1") {
		t.Errorf("error is %v, want one that names the peer", err)
	}
}

func flagsOf(t *testing.T, words ...string) *pflag.FlagSet {
	t.Helper()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(flags)
	if !strings.Contains(strings.Join(words, " "), "--config") {
		words = append(words, "--config", os.DevNull)
	}
	if err := flags.Parse(words); err != nil {
		t.Fatal(err)
	}
	return flags
}
