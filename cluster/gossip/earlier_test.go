package gossip_test

import (
	"bytes"
	"io"
	"log"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
)

// TestMessagesOfEarlierAgentsAreIgnored: they sent hints, 35 bytes that named a
// record which changed, beside the membership. They are members all the same.
func TestMessagesOfEarlierAgentsAreIgnored(t *testing.T) {
	tn := newTown(t)
	home := tn.node("home")
	home.sees(t, "home", gossip.Alive)
	known := home.dir.Known()

	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.7.99"), tn.port)
	tn.put(store.NodeKey("old"), store.Encode(store.Node{Node: "old", Gossip: at.String()}))
	keyring, err := memberlist.NewKeyring(known.Keys, known.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	config := memberlist.DefaultLANConfig()
	config.Name, config.Label, config.Keyring = "old", known.Cluster, keyring
	config.BindAddr, config.BindPort, config.AdvertisePort = at.Addr().String(), int(at.Port()), int(at.Port())
	config.Logger = log.New(io.Discard, "", 0)
	old, err := memberlist.Create(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := old.Shutdown(); err != nil {
			t.Error(err)
		}
	}()
	peer := "home/" + netip.AddrPortFrom(home.addr, tn.port).String()
	if _, err := old.Join([]string{peer}); err != nil {
		t.Fatal(err)
	}
	home.sees(t, "old", gossip.Alive)

	for !strings.Contains(home.log.String(), `msg="member joined" node=old`) {
		time.Sleep(time.Millisecond)
	}
	before, counted := home.log.String(), home.Counters()
	hint := append([]byte{1, 1 | 0x80}, bytes.Repeat([]byte{7}, 33)...)
	to := memberlist.Address{Addr: netip.AddrPortFrom(home.addr, tn.port).String(), Name: "home"}
	for _, message := range [][]byte{hint, {}, []byte("rubbish")} {
		if err := old.SendToAddress(to, message); err != nil {
			t.Fatal(err)
		}
		for _, m := range old.Members() {
			if m.Name != "home" {
				continue
			}
			if err := old.SendReliable(m, message); err != nil { // home has read it when it answers the next
				t.Fatal(err)
			}
		}
	}
	if _, err := old.Join([]string{peer}); err != nil {
		t.Fatal(err)
	}
	if now := home.Counters(); now != counted {
		t.Errorf("counted %+v, before %+v", now, counted)
	}
	for line := range strings.Lines(strings.TrimPrefix(home.log.String(), before)) {
		if !strings.Contains(line, "level=DEBUG") {
			t.Errorf("logged %s", line)
		}
	}
	home.sees(t, "old", gossip.Alive)
}
