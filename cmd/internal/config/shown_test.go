package config_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"gvlan/cmd/internal/config"
)

// TestShown: what an agent shows is what it was told, and never a secret.
func TestShown(t *testing.T) {
	loaded, err := config.Load(pflag.NewFlagSet("", pflag.ContinueOnError), []string{
		"GVLAN_CONFIG=/dev/null", "GVLAN_DNS_LISTEN=192.168.1.10:53,127.0.0.1:5354", "GVLAN_MEMBER_GONE=90s", "GVLAN_SWARM=off",
		"GVLAN_ETCD_PASSWORD=hunter2", "GVLAN_TOKEN=gvlan1-hunter2", "GVLAN_WEB_PASSWORD=hunter2", "GVLAN_DEFAULT_POOLS=10.0.0.0/8:24", "GVLAN_GOSSIP_PORT=9000",
		"GVLAN_BGP_AS=4200000001", "GVLAN_BGP_PEER=192.168.1.1,65000,/etc/gvlan/bgp;[fd00::1]:1179,65000", "GVLAN_BGP_IMPORT=10.0.0.0/8",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := loaded.Config
	want.Parents = config.Parents{Default: "eth0", Networks: map[string]string{"lan": "eth1"}}
	want.BGP.Peers[0].Password = "hunter2"
	shown := config.Show(want)
	for _, s := range shown {
		if strings.Contains(s.Value, "hunter2") {
			t.Errorf("%s is shown", s.Name)
		}
	}
	if !slices.Contains(shown, config.Shown{Name: "etcd-password", Value: "(secret)"}) {
		t.Errorf("that there is a password is not shown: %v", shown)
	}
	got, err := config.FromShown(shown)
	if err != nil {
		t.Fatal(err)
	}
	want.Etcd.Password, want.Join.Token, want.Web.Password = "", "", ""
	want.BGP.Peers[0].Password = ""
	compare := []cmp.Option{cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, got, compare...); diff != "" {
		t.Errorf("the configuration that was shown (-want +got):\n%s", diff)
	}
	if older, err := config.FromShown(nil); err != nil || older.Gossip.Port != 7947 || older.Etcd.MemberGone != 10*time.Minute {
		t.Errorf("what an older agent does not show is not the default: %+v (%v)", older, err)
	}
}
