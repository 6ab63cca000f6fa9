package store_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"gvlan/cluster/store"
)

// What a container's lease looks like: a machine id, ids of an engine, a uuid.
const (
	machineID  = "0123456789abcdef0123456789abcdef"
	endpointID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	engineID   = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
	networkID  = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
)

func leaseItem(value []byte) store.Item { return store.Item{Key: "/leases/s/4/0a000001", Value: value} }

func mustDecode(t *testing.T, value []byte) store.Lease {
	t.Helper()
	l, err := store.Decode[store.Lease](leaseItem(value))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestALeaseIsSmall: there may be a million of them.
func TestALeaseIsSmall(t *testing.T) {
	given := store.Lease{State: store.Leased, Kind: store.Static, Node: machineID, Epoch: 9999, Nonce: machineID[:16], Network: networkID, Since: 1_800_000_000}
	bound := given
	bound.Endpoint = endpointID
	undefined := bound
	undefined.Kind, undefined.Network = store.Dynamic, store.EngineNetwork(engineID)
	older := bound
	older.Nonce = machineID // of 128 bits
	for name, l := range map[string]store.Lease{"given": given, "bound": bound, "of a network without a definition": undefined, "with an older nonce": older} {
		raw := store.Encode(l)
		if len(raw) > 120 {
			t.Errorf("%s: %d bytes, want at most 120: %q", name, len(raw), raw)
		}
		if !bytes.Contains(raw, []byte(l.Node)) {
			t.Errorf("%s: %q does not hold the node's name as text", name, raw)
		}
		if diff := cmp.Diff(l, mustDecode(t, raw)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		t.Logf("%s: %d bytes", name, len(raw))
	}
}

// TestLeasesOfBefore: what is in stores stays readable.
func TestLeasesOfBefore(t *testing.T) {
	bound := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: machineID, Epoch: 3, Nonce: machineID, Network: networkID, Endpoint: endpointID, Since: 1_700_000_000}
	for _, c := range []struct {
		name, value string
		want        store.Lease
	}{
		{"JSON", `{"state":"lease","kind":"dynamic","node":"` + machineID + `","epoch":3,"nonce":"` + machineID + `","network":"` + networkID + `","endpoint":"` + endpointID + `","since":1700000000}`, bound},
		{"JSON with space before it", ` {"state":"reserved","by":["` + networkID + `"]}`, store.Lease{State: store.Reserved, By: []string{networkID}}},
		{
			"compact, of schema 2", "\x02" +
				"\x10\x01" +
				"\x1a\x02h1" +
				"\x20\x07" +
				"\x29\xef\xcd\xab\x89\x67\x45\x23\x01" +
				"\x3a\x10\x7d\x44\x48\x40\x9d\xc0\x11\xd1\xb2\x45\x5f\xfd\xce\x74\xfa\xd2" +
				"\x52\x02\x9f\x86" +
				"\x65\x00\xf1\x53\x65",
			store.Lease{State: store.Leased, Kind: store.Static, Node: "h1", Epoch: 7, Nonce: machineID[:16], Network: networkID, Endpoint: "9f86", Since: 1_700_000_000},
		},
	} {
		if diff := cmp.Diff(c.want, mustDecode(t, []byte(c.value))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if strings.HasPrefix(c.value, "\x02") && string(store.Encode(c.want)) != c.value {
			t.Errorf("%s: is now written %q", c.name, store.Encode(c.want))
		}
	}
}

// TestWhatOlderHostsRewriteStaysJSON: they share gateways, start the swarm's
// tasks and end quarantines, and read JSON only.
func TestWhatOlderHostsRewriteStaysJSON(t *testing.T) {
	for _, l := range []store.Lease{
		{State: store.Reserved, Since: 5, By: []string{networkID}},
		{State: store.Quarantined, Kind: store.Dynamic, Node: machineID, Endpoint: endpointID},
		{State: store.Leased, Kind: store.Dynamic, Nonce: machineID[:16], Claims: &store.Claims{Manager: true}},
		{State: "later", Kind: store.Dynamic},
		{State: store.Leased, Kind: "later"},
	} {
		raw := store.Encode(l)
		var read store.Lease
		if err := json.Unmarshal(raw, &read); err != nil || !reflect.DeepEqual(read, l) {
			t.Errorf("%+v is written %q: %v", l, raw, err)
		}
	}
}

// TestLeasesOfLater: a field more hides nothing; what means something unknown is
// not guessed.
func TestLeasesOfLater(t *testing.T) {
	l := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: "h1", Nonce: "0123456789abcdef"}
	raw := store.Encode(l)
	more := protowire.AppendVarint(protowire.AppendTag(bytes.Clone(raw), 99, protowire.VarintType), 7)
	more = protowire.AppendString(protowire.AppendTag(more, 100, protowire.BytesType), "new")
	more = protowire.AppendFixed32(protowire.AppendTag(more, 101, protowire.Fixed32Type), 7)
	got := mustDecode(t, more)
	got.Unknown = "" // see TestALeaseKeepsWhatIsUnknown
	if diff := cmp.Diff(l, got); diff != "" {
		t.Errorf("with fields of later (-want +got):\n%s", diff)
	}
	for name, value := range map[string][]byte{
		"a later schema":                   append([]byte{3}, raw[1:]...),
		"a state of later":                 protowire.AppendVarint(protowire.AppendTag(bytes.Clone(raw), 1, protowire.VarintType), 9),
		"a kind of later":                  protowire.AppendVarint(protowire.AppendTag(bytes.Clone(raw), 2, protowire.VarintType), 9),
		"a number where the node's is":     protowire.AppendVarint(protowire.AppendTag(bytes.Clone(raw), 3, protowire.VarintType), 9),
		"a text where the state's is":      protowire.AppendString(protowire.AppendTag(bytes.Clone(raw), 1, protowire.BytesType), "lease"),
		"a uuid that is none":              protowire.AppendString(protowire.AppendTag(bytes.Clone(raw), 7, protowire.BytesType), "short"),
		"a record that was cut":            raw[:len(raw)-1],
		"nothing":                          nil,
		"one where another record belongs": {2},
	} {
		item := leaseItem(value)
		if name == "one where another record belongs" {
			if _, err := store.Decode[store.Epoch](item); err == nil {
				t.Errorf("%s was read", name)
			}
			continue
		}
		if l, err := store.Decode[store.Lease](item); err == nil || !strings.Contains(err.Error(), item.Key) {
			t.Errorf("%s: %+v, %v; want an error with the key", name, l, err)
		}
	}
}

// leases draws leases, of ordinary and of any texts.
func leases(rt *rapid.T) store.Lease {
	text := func(label string, ordinary ...string) string {
		return rapid.OneOf(rapid.SampledFrom(append(ordinary, "")), rapid.StringMatching(`[0-9a-f]{0,70}`), rapid.String()).Draw(rt, label)
	}
	return store.Lease{
		State:    store.Leased,
		Kind:     rapid.SampledFrom([]store.LeaseKind{store.Dynamic, store.Static, ""}).Draw(rt, "kind"),
		Node:     text("node", machineID, "h1"),
		Epoch:    rapid.Int64().Draw(rt, "epoch"),
		Nonce:    text("nonce", machineID, machineID[:16], "0000000000000000"),
		Network:  text("network", networkID, strings.ToUpper(networkID), store.EngineNetwork(engineID), "engine:", "engine:f"),
		Endpoint: text("endpoint", endpointID),
		Since:    rapid.OneOf(rapid.Int64(), rapid.Int64Range(0, 1<<33)).Draw(rt, "since"),
	}
}

func TestALeaseIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := leases(rt)
		raw := store.Encode(l)
		if raw[0] != 2 {
			rt.Fatalf("%+v is not compact: %q", l, raw)
		}
		got, err := store.Decode[store.Lease](leaseItem(raw))
		if diff := cmp.Diff(l, got); diff != "" || err != nil {
			rt.Fatalf("%q, %v (-want +got):\n%s", raw, err, diff)
		}
	})
}

// Whatever a store holds, it is read or refused, and what is read is written as
// something that reads the same.
func FuzzLease(f *testing.F) {
	l := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: machineID, Epoch: 3, Nonce: machineID[:16], Network: networkID, Endpoint: endpointID, Since: 1_700_000_000}
	f.Add(store.Encode(l))
	l.Claims = &store.Claims{Worker: true}
	f.Add(store.Encode(l))
	f.Add([]byte("\x02\x78\x03\x6a\x10\x7d\x44\x48\x40\x9d\xc0\x11\xd1\xb2\x45\x5f\xfd\xce\x74\xfa\xd2\x72\x01x\x08\x01"))
	f.Fuzz(func(t *testing.T, value []byte) {
		l, err := store.Decode[store.Lease](leaseItem(value))
		if err != nil {
			return
		}
		again, err := store.Decode[store.Lease](leaseItem(store.Encode(l)))
		texts := l.Node + l.Nonce + l.Network + l.Endpoint + strings.Join(l.By, "")
		if value[0] == 2 && utf8.ValidString(texts) && (err != nil || !reflect.DeepEqual(l, again)) { // JSON holds no others
			t.Fatalf("%+v is written as %q and read as %+v, %v", l, store.Encode(l), again, err)
		}
	})
}

func BenchmarkLease(b *testing.B) {
	l := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: machineID, Epoch: 3, Nonce: machineID[:16], Network: networkID, Endpoint: endpointID, Since: 1_700_000_000}
	compact := leaseItem(store.Encode(l))
	asJSON, err := json.Marshal(l)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			store.Encode(l)
		}
	})
	for name, it := range map[string]store.Item{"decode": compact, "decode JSON": leaseItem(asJSON)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := store.Decode[store.Lease](it); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
