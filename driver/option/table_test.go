package option_test

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"gvlan/cluster/store"
	"gvlan/driver/option"
	"gvlan/ipam/pool"

	"github.com/google/go-cmp/cmp"
)

// example is a value of the option, of which the table names no word.
func example(o option.Described) string {
	values := map[string]string{
		"LIST": "eth0", "/PATH": "/etc/parents", "BYTES": "1400", "ROUTE,...": "10.0.0.0/8 via 192.168.1.2", "PREFIX": "02:42", "NAME": "lan", "ITEM,...": "10.0.0.9", "TIME": "30s", "CIDR": "10.0.0.0/25",
	}
	return values[o.Value]
}

// TestTablesAreWhatIsTaken: each option that is described is taken, with each of
// its words, and a network without it is as with its default.
func TestTablesAreWhatIsTaken(t *testing.T) {
	for _, o := range option.Network() {
		for _, word := range append(slices.Clone(o.Words), example(o)) {
			if word == "" {
				continue
			}
			if _, err := option.Parse(map[string]string{o.Name: word}); err != nil {
				t.Errorf("-o %s=%s: %v", o.Name, word, err)
			}
		}
	}
	var described []string
	for _, o := range option.IPAM() {
		described = append(described, o.Name)
		for _, word := range append(slices.Clone(o.Words), example(o)) {
			if word == "" {
				continue
			}
			if _, err := pool.ParseOptions(map[string]string{o.Name: word}); err != nil {
				t.Errorf("--ipam-opt %s=%s: %v", o.Name, word, err)
			}
		}
	}
	if diff := cmp.Diff(pool.OptionNames(), described); diff != "" {
		t.Errorf("--ipam-opt is described otherwise than it is read (-read +described):\n%s", diff)
	}
	for _, o := range option.Changes() {
		for _, word := range append(slices.Clone(o.Words), example(o)) {
			if word == "" {
				continue
			}
			n := store.Network{Created: store.Definition{Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24")}}}}
			n.Overrides = store.Overrides{Exclude: []string{"10.0.0.9"}, Ranges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/25")}} // for what is taken away
			if err := option.Set(&n, o.Name+"="+word); err != nil {
				t.Errorf("network set %s=%s: %v", o.Name, word, err)
			}
		}
	}
}

// TestWhatIsNotThereIsNotTakenAway: an item that is written otherwise than it was
// given takes nothing away, which must not look as if it did.
func TestWhatIsNotThereIsNotTakenAway(t *testing.T) {
	n := store.Network{
		Created:   store.Definition{Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24")}}},
		Overrides: store.Overrides{Exclude: []string{"10.0.0.1-10.0.0.9"}},
	}
	for change, want := range map[string]string{
		"exclude-=10.0.0.5":    "exclude-=10.0.0.5 is not among those that can be taken away: 10.0.0.1-10.0.0.9",
		"range-=10.0.0.128/25": "range-=10.0.0.128/25: nothing was added to the network's with range+=",
	} {
		if err := option.Set(&n, change); !errors.Is(err, option.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", change, err, want)
		}
	}
}

// TestWordsAreAll: what the table does not name is refused.
func TestWordsAreAll(t *testing.T) {
	for _, o := range option.Network() {
		if o.Value != "" {
			continue
		}
		_, err := option.Parse(map[string]string{o.Name: "nosuch"})
		if !errors.Is(err, option.ErrInvalid) || !strings.Contains(err.Error(), "-o "+o.Name+"=") {
			t.Errorf("-o %s=nosuch: %v, want a refusal that names it", o.Name, err)
		}
		for _, word := range o.Words {
			if err != nil && !strings.Contains(err.Error(), word) {
				t.Errorf("-o %s=nosuch: %v, want it to name %s", o.Name, err, word)
			}
		}
	}
}

func TestTablesForPeople(t *testing.T) {
	for name, table := range map[string][]option.Described{"-o": option.Network(), "--ipam-opt": option.IPAM(), "network set": option.Changes()} {
		for _, o := range table {
			if o.Meaning == "" || strings.HasSuffix(o.Meaning, ".") {
				t.Errorf("%s %s means %q, want a line without a full stop", name, o.Name, o.Meaning)
			}
			if o.Default != "" && !slices.Contains(o.Words, o.Default) {
				t.Errorf("%s %s: the default %s is none of its words", name, o.Name, o.Default)
			}
		}
		for line := range strings.Lines(option.Lines(table)) {
			if n := utf8.RuneCountInString(line); n > 110 {
				t.Errorf("%s has a line of %d columns: %s", name, n, line)
			}
		}
	}
	for page, want := range map[string]string{
		"driver/README.md": option.Markdown("-o", option.Network()), "ipam/README.md": option.Markdown("--ipam-opt", option.IPAM()),
	} {
		text, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks a table; put in what `gvlan config reference --options` prints:\n%s", page, want)
		}
	}
}

// TestHostAccessIsSet: a change of it is refused for what can be no value of it, and
// for links that leave no way to the host.
func TestHostAccessIsSet(t *testing.T) {
	network := func(options map[string]string) *store.Network {
		return &store.Network{Created: store.Definition{Options: options}}
	}
	for _, tt := range []struct {
		change  string
		options map[string]string
		says    string // "" where it is taken
	}{
		{"host-access=on", nil, ""},
		{"host-access=off", map[string]string{"macvlan_mode": "private"}, ""},
		{"host-access=on", map[string]string{"macvlan_mode": "private"}, "macvlan_mode=private"},
		{"host-access=half", nil, `host-access="half" is not one of on, off`},
		{"host-access+=on", nil, "host-access=on"},
	} {
		n := network(tt.options)
		err := option.Set(n, tt.change)
		switch {
		case tt.says == "" && (err != nil || "host-access="+n.Overrides.HostAccess != tt.change):
			t.Errorf("%s of %v: %v, set to %q", tt.change, tt.options, err, n.Overrides.HostAccess)
		case tt.says != "" && (!errors.Is(err, option.ErrInvalid) || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s of %v: %v, want it to say %s", tt.change, tt.options, err, tt.says)
		}
	}
	if err := option.CheckChange("host-access=half"); !errors.Is(err, option.ErrInvalid) {
		t.Errorf("host-access=half is %v before a network is known, want it refused", err)
	}
}

// TestWhatIsKeptAsMade: an option of a network that cannot be changed is not called
// unknown.
func TestWhatIsKeptAsMade(t *testing.T) {
	changed := option.Changes()
	for _, o := range slices.Concat(option.Network(), option.IPAM()) {
		if slices.ContainsFunc(changed, func(c option.Described) bool { return strings.TrimRight(c.Name, "+-") == o.Name }) || o.Name == "parent-file" {
			continue
		}
		if err := option.CheckChange(o.Name + "=x"); !errors.Is(err, option.ErrFixed) {
			t.Errorf("network set %s=x: %v, want that it cannot be changed", o.Name, err)
		}
	}
}
