package engine

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var addresses = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func TestNetworksSurvivesOddValues(t *testing.T) {
	s, e := serve(t, "1.41")
	s.say("GET", "/networks", http.StatusOK, `[
		{"Id":"a","Name":"auto6","IPAM":{"Config":[{"Subnet":"fd00::/64","Gateway":"fd00::1/64"}]}},
		{"Id":"b","Name":"no gateway","IPAM":{"Config":[{"Subnet":"fd01::/64","Gateway":"<nil>"}]}},
		{"Id":"c","Name":"plain","IPAM":{"Config":[
			{"Subnet":"10.0.0.0/24","IPRange":"10.0.0.128/25","Gateway":"10.0.0.1","AuxiliaryAddresses":{"nas":"10.0.0.5"}}]}}
	]`)
	got, err := e.Networks(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := []Network{
		{ID: "a", Name: "auto6", IPv4: true, IPAM: IPAM{Pools: []Pool{
			{Subnet: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParseAddr("fd00::1")},
		}}},
		{ID: "b", Name: "no gateway", IPv4: true, IPAM: IPAM{Pools: []Pool{{Subnet: netip.MustParsePrefix("fd01::/64")}}}},
		{ID: "c", Name: "plain", IPv4: true, IPAM: IPAM{Pools: []Pool{{
			Subnet: netip.MustParsePrefix("10.0.0.0/24"), Range: netip.MustParsePrefix("10.0.0.128/25"),
			Gateway: netip.MustParseAddr("10.0.0.1"), Aux: map[string]netip.Addr{"nas": netip.MustParseAddr("10.0.0.5")},
		}}}},
	}
	if diff := cmp.Diff(want, got, addresses...); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
}

func TestNetworksAsksForOneDriver(t *testing.T) {
	s, e := serve(t, "1.51")
	s.on("GET", "/networks", func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.FormValue("filters"), `{"driver":{"gvlan-swarm:latest":true}}`; got != want {
			t.Errorf("filters: got %s, want %s", got, want)
		}
		_, _ = w.Write([]byte(`[]`))
	})
	if _, err := e.Networks(t.Context(), "gvlan-swarm:latest"); err != nil {
		t.Error(err)
	}
}

// TestCreateNetworkYieldsItsName plays the race that a user's own create wins on an
// engine below API 1.44: both succeed.
func TestCreateNetworkYieldsItsName(t *testing.T) {
	for _, c := range []struct {
		name    string
		version string
		listed  string
		taken   bool
	}{
		{"alone", "1.41", `[{"Id":"ours","Name":"lan1"},{"Id":"x","Name":"lan10"}]`, false},
		{"second of the name", "1.41", `[{"Id":"ours","Name":"lan1"},{"Id":"theirs","Name":"lan1"}]`, true},
		{"engine that keeps names unique is not asked", "1.44", `[{"Id":"theirs","Name":"lan1"}]`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, e := serve(t, c.version)
			var removed []string
			s.on("POST", "/networks/create", func(w http.ResponseWriter, r *http.Request) {
				var body map[string]any
				if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body["CheckDuplicate"] != true {
					t.Errorf("request: got %v, %v; want CheckDuplicate", body, err)
				}
				_, _ = w.Write([]byte(`{"Id":"ours"}`))
			})
			s.say("GET", "/networks", http.StatusOK, c.listed)
			s.on("DELETE", "/networks/{id}", func(_ http.ResponseWriter, r *http.Request) {
				removed = append(removed, r.PathValue("id"))
			})
			id, err := e.CreateNetwork(t.Context(), NetworkRequest{Name: "lan1", IPv4: true})
			if c.taken {
				if !errors.Is(err, ErrNameTaken) || id != "" {
					t.Errorf("got %q, %v; want %v", id, err, ErrNameTaken)
				}
				if diff := cmp.Diff([]string{"ours"}, removed); diff != "" {
					t.Errorf("removed (-want +got):\n%s", diff)
				}
				return
			}
			if err != nil || id != "ours" || removed != nil {
				t.Errorf("got %q, %v, removed %q; want ours alone", id, err, removed)
			}
		})
	}
}

func TestCreateNetworkLeavesNothingWhenItCannotLook(t *testing.T) {
	s, e := serve(t, "1.41")
	removed := false
	s.say("POST", "/networks/create", http.StatusCreated, `{"Id":"ours"}`)
	s.say("GET", "/networks", http.StatusInternalServerError, `{"message":"broken"}`)
	s.on("DELETE", "/networks/ours", func(http.ResponseWriter, *http.Request) { removed = true })
	if _, err := e.CreateNetwork(t.Context(), NetworkRequest{Name: "lan1", IPv4: true}); err == nil || !removed {
		t.Errorf("got error %v, removed %t; want an error and the network removed", err, removed)
	}
}

func TestPrefixFrom(t *testing.T) {
	for text, want := range map[string]netip.Prefix{
		"10.0.0.5/24":    netip.MustParsePrefix("10.0.0.5/24"),
		"10.0.0.5":       netip.MustParsePrefix("10.0.0.5/32"),
		"fd00::5":        netip.MustParsePrefix("fd00::5/128"),
		"":               {},
		"<nil>":          {},
		"10.0.0.5/lots":  netip.MustParsePrefix("10.0.0.5/32"),
		"not an address": {},
	} {
		if got := prefixFrom(text); got != want {
			t.Errorf("prefixFrom(%q): got %v, want %v", text, got, want)
		}
	}
}
