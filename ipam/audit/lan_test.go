package audit_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/audit"
	"gvlan/ipam/survey"
)

// lan answers at eth1 for addresses with hardware addresses, and counts.
type lan struct {
	answers map[string]string
	asked   []int // addresses, each time
	between func(time int)
}

func (l *lan) ask(_ context.Context, ifname string, addrs []netip.Addr) (map[netip.Addr][]net.HardwareAddr, error) {
	if ifname != "eth1" {
		return nil, errors.New("it is down")
	}
	l.asked = append(l.asked, len(addrs))
	found := map[netip.Addr][]net.HardwareAddr{}
	for _, a := range addrs {
		for mac := range strings.FieldsSeq(l.answers[a.String()]) {
			hw, err := net.ParseMAC(mac)
			if err != nil {
				return nil, err
			}
			found[a] = append(found[a], hw)
		}
	}
	if l.between != nil {
		l.between(len(l.asked))
	}
	return found, nil
}

const stranger = "52:54:00:00:00:01"

// onLAN is a store with a network lan of which a container web has 10.0.0.7.
func onLAN(t *testing.T, l *lan) (audit.LAN, *storetest.Mem) {
	t.Helper()
	mem := storetest.NewMem()
	subnet := netip.MustParsePrefix("10.0.0.0/28")
	def := store.Network{UUID: "net-uuid", Name: "lan", Created: store.Definition{Segment: "default", Pools: []store.Pool{{Subnet: subnet, Gateway: addr("10.0.0.1")}}}}
	other := store.Network{UUID: "other-uuid", Name: "other", Created: store.Definition{Segment: "far", Pools: []store.Pool{{Subnet: subnet}}}}
	gone := store.Network{UUID: "gone-uuid", Name: "gone", Created: store.Definition{Segment: "away", Pools: []store.Pool{{Subnet: subnet}}}}
	put(t, mem, leaseAt("10.0.0.7", bound("h1", "web")), endpointAt("h1", "web", "10.0.0.7", mac),
		store.Put(store.CooldownKey("default", addr("10.0.0.9")), store.Encode(store.Cooldown{Since: 1})))
	return audit.LAN{
		KV: mem, Survey: &survey.Survey{Networks: survey.NewNetworks([]store.Network{def, other, gone}, nil), Hosts: map[netip.Addr]string{addr("10.0.0.3"): "h3"}},
		Parents: map[string]string{"net-uuid": "eth1", "other-uuid": "eth2"}, Answers: l.ask,
	}, mem
}

func TestTheLANFits(t *testing.T) {
	l := &lan{answers: map[string]string{
		"10.0.0.1": stranger, "10.0.0.3": stranger, "10.0.0.9": stranger, // the gateway, a host, what rests
		"10.0.0.7": mac,
	}}
	a, _ := onLAN(t, l)
	found, unasked, err := a.Ask(t.Context())
	if err != nil || found != nil {
		t.Errorf("found %+v, %v", found, err)
	}
	if want := []string{"the LAN of network gone: this host has no parent of it", "the LAN at eth2: it is down"}; !slices.Equal(unasked, want) {
		t.Errorf("unasked %q, want %q", unasked, want)
	}
	if want := []int{11}; !slices.Equal(l.asked, want) { // 14, without gateway, host and what rests
		t.Errorf("asked for %v addresses, want %v", l.asked, want)
	}
}

func TestAnswersThatDoNotFit(t *testing.T) {
	l := &lan{answers: map[string]string{"10.0.0.5": stranger, "10.0.0.7": mac + " " + stranger}}
	a, _ := onLAN(t, l)
	found, _, err := a.Ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, f := range found {
		told = append(told, f.Address.String()+" "+f.MAC+" "+f.Node+": "+f.Why+": "+f.Cure)
	}
	want := []string{
		"10.0.0.5 " + stranger + " : nobody in the store has it, and " + stranger + " answers for it on the LAN at eth1: a container that is given it is in conflict" +
			": gvlan network set lan exclude+=10.0.0.5, or give that machine another address",
		"10.0.0.7 " + stranger + " h1: container of-web has it, with the MAC address " + mac + ", and " + stranger + " answers for it on the LAN at eth1" +
			": give the other machine another address",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := []int{11, 2}; !slices.Equal(l.asked, want) {
		t.Errorf("asked for %v addresses, want %v", l.asked, want)
	}
}

// TestAnswersOfWhatIsUnderWay are none that do not fit: a container that was given
// the address, one that left it, and one that answered once.
func TestAnswersOfWhatIsUnderWay(t *testing.T) {
	for name, meanwhile := range map[string]func(*lan, *storetest.Mem, int){
		"given": func(_ *lan, mem *storetest.Mem, _ int) { put(t, mem, leaseAt("10.0.0.5", bound("h1", ""))) },
		"given late": func(_ *lan, mem *storetest.Mem, time int) {
			if time == 2 {
				put(t, mem, leaseAt("10.0.0.5", bound("h1", "")))
			}
		},
		"left": func(_ *lan, mem *storetest.Mem, _ int) {
			put(t, mem, store.Put(store.CooldownKey("default", addr("10.0.0.5")), store.Encode(store.Cooldown{Since: 1})))
		},
		"once": func(l *lan, _ *storetest.Mem, _ int) { delete(l.answers, "10.0.0.5") },
		"its container is described": func(l *lan, mem *storetest.Mem, _ int) {
			delete(l.answers, "10.0.0.5")
			l.answers["10.0.0.7"] = stranger
			put(t, mem, endpointAt("h1", "web", "10.0.0.7", stranger))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lan{answers: map[string]string{"10.0.0.5": stranger}}
			a, mem := onLAN(t, l)
			l.between = func(time int) { meanwhile(l, mem, time) }
			if found, _, err := a.Ask(t.Context()); err != nil || found != nil {
				t.Errorf("found %+v, %v", found, err)
			}
		})
	}
}
