package parent

import (
	"errors"
	"log/slog"
	"slices"
	"testing"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
	"gvlan/driver/option"
)

// TestOthersVLANsAreTheirs: a VLAN link that was there before gvlan is used,
// and when it is gone others make it again, under whatever name it had.
func TestOthersVLANsAreTheirs(t *testing.T) {
	for _, name := range []string{"eth0.87", "storage"} {
		t.Run(name, func(t *testing.T) {
			kernel := linktest.New("gvlan")
			kernel.Add(link.Interface{Name: "eth0", Up: true})
			kernel.Add(link.Interface{Name: "eth1", Up: true})
			vlan := link.Interface{Name: name, Kind: "vlan", Parent: "eth0", VLAN: 87, Up: true}
			kernel.Add(vlan)
			p := New(Config{Links: kernel, Node: "h1", Log: slog.New(slog.DiscardHandler)})
			n := &journal.Network{ID: "n1", UUID: "u1", Options: option.Options{Parent: "eth0.87,eth1.88", Kind: link.Macvlan, Mode: link.Bridge}}
			names := func() []string {
				t.Helper()
				have, err := kernel.Interfaces(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, i := range have {
					if i.Kind == "vlan" {
						names = append(names, i.Name)
					}
				}
				return names
			}
			prepare := func() {
				t.Helper()
				if err := p.Prepare(t.Context(), n, true); err != nil {
					t.Fatal(err)
				}
			}
			prepare()
			if got := names(); !slices.Equal(got, []string{name}) {
				t.Fatalf("VLAN links at first: %v, want %s alone", got, name)
			}
			kernel.Unplug(name)
			prepare()
			if got := names(); !slices.Equal(got, []string{"eth1.88"}) {
				t.Errorf("VLAN links while %s is gone: %v, want the next candidate's alone", name, got)
			}
			n.Options.Parent = "eth0.87"
			if _, _, err := p.choose(t.Context(), *n); !errors.Is(err, errGiven) {
				t.Errorf("parent while the only candidate is gone: %v, want %v", err, errGiven)
			}
			kernel.Add(vlan)
			if found, err := p.ensure(t.Context(), *n); err != nil || found.Name != name {
				t.Errorf("parent when it is back: %+v, %v; want %s", found, err, name)
			}
		})
	}
}
