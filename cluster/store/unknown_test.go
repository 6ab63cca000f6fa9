package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"gvlan/cluster/store"
)

// kind is one record of the store, with its type forgotten.
type kind struct {
	name   string
	encode func(full bool) []byte // a record with every field set, or with none
	again  func(value []byte) ([]byte, error)
}

func kindOf[T any]() kind {
	return kind{
		name: reflect.TypeFor[T]().Name(),
		encode: func(full bool) []byte {
			var record T
			if full {
				setAll(reflect.ValueOf(&record).Elem())
			}
			return store.Encode(record)
		},
		again: func(value []byte) ([]byte, error) {
			record, err := store.Decode[T](store.Item{Key: "/key", Value: value})
			if err != nil {
				return nil, err
			}
			return store.Encode(record), nil
		},
	}
}

func kinds() []kind {
	return []kind{
		kindOf[store.Meta](), kindOf[store.Epoch](), kindOf[store.Live](), kindOf[store.Gate](), kindOf[store.Recovery](), kindOf[store.Reasserted](),
		kindOf[store.GossipKeys](), kindOf[store.Node](), kindOf[store.Refs](), kindOf[store.Network](), kindOf[store.Tombstone](), kindOf[store.Removal](),
		kindOf[store.DefaultPool](), kindOf[store.Lease](), kindOf[store.Cooldown](), kindOf[store.Conflict](), kindOf[store.Reservation](), kindOf[store.MAC](),
		kindOf[store.Endpoint](), kindOf[store.Quarantine](), kindOf[store.JoinSecret](), kindOf[store.Roots](), kindOf[store.Certificate](),
		kindOf[store.Member](), kindOf[store.Size](), kindOf[store.Life](), kindOf[store.Trail](),
	}
}

// setAll sets every field of a value, and two of what is a list.
func setAll(v reflect.Value) {
	switch into := v.Addr().Interface().(type) {
	case *store.Unknown:
		return
	case *netip.Addr:
		*into = netip.MustParseAddr("192.0.2.7")
		return
	case *netip.Prefix:
		*into = netip.MustParsePrefix("192.0.2.0/24")
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text <&> \u2028")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setAll(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		setAll(v.Index(0))
		setAll(v.Index(1))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		setAll(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("schema"), value)
	case reflect.Struct:
		for i := range v.NumField() {
			setAll(v.Field(i))
		}
	default:
		panic(fmt.Sprintf("a field of type %s: say here how it is filled", v.Type()))
	}
}

// later puts a member that nobody knows into every object of a document, as a
// newer gvlan would. Objects that are maps of texts have any member.
func later(t *testing.T, value []byte) []byte {
	t.Helper()
	var document any
	if err := json.Unmarshal(value, &document); err != nil {
		t.Fatal(err)
	}
	count := 0
	var walk func(at any)
	walk = func(at any) {
		switch at := at.(type) {
		case []any:
			for _, of := range at {
				walk(of)
			}
		case map[string]any:
			if _, isMap := at["schema"].(string); isMap || at["schema"] != nil && len(at) == 1 {
				return
			}
			for _, of := range at {
				walk(of)
			}
			count++
			at["later"] = map[string]any{"number": json.Number("12345678901234567890"), "list": []any{count, "a<b", nil}}
			at["later2"] = count
		}
	}
	walk(document)
	raw, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func sameJSON(t *testing.T, want, got []byte) string {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal(want, &a), json.Unmarshal(got, &b)); err != nil {
		t.Fatalf("%q, %q: %v", want, got, err)
	}
	return cmp.Diff(a, b)
}

// TestARecordKeepsWhatIsUnknown: hosts of two versions change the same records.
func TestARecordKeepsWhatIsUnknown(t *testing.T) {
	for _, k := range kinds() {
		for _, full := range []bool{true, false} {
			plain := k.encode(full)
			if plain[0] == 2 {
				continue // compact: see TestALeaseKeepsWhatIsUnknown
			}
			if got, err := k.again(plain); err != nil || string(got) != string(plain) {
				t.Errorf("%s: %s is written again as %s, %v", k.name, plain, got, err)
			}
			newer := later(t, plain)
			got, err := k.again(newer)
			if err != nil {
				t.Errorf("%s: %v", k.name, err)
				continue
			}
			if diff := sameJSON(t, newer, got); diff != "" {
				t.Errorf("%s, written again (-want +got):\n%s", k.name, diff)
			}
			if twice, err := k.again(got); err != nil || string(twice) != string(got) {
				t.Errorf("%s: %s is written again as %s, %v", k.name, got, twice, err)
			}
		}
	}
}

// TestASchemaOfLaterIsRefused: whatever else such a record says.
func TestASchemaOfLaterIsRefused(t *testing.T) {
	for _, k := range kinds() {
		for value, want := range map[string]error{
			`{"schema":2}`: store.ErrNewer,
			`{"schema":2,"node":[1],"state":{},"since":"now","networks":7,"keys":{}}`: store.ErrNewer,
			`{"schema":"2b"}`: store.ErrNewer,
			`{"schema":1}`:    nil,
		} {
			got, err := k.again([]byte(value))
			if !errors.Is(err, want) {
				t.Errorf("%s: %s: %v, want %v", k.name, value, err, want)
			}
			if err == nil && !strings.Contains(string(got), `"schema":1`) {
				t.Errorf("%s: %s is written again as %s", k.name, value, got)
			}
			if err != nil && !strings.Contains(err.Error(), "/key") {
				t.Errorf("%s: %v does not name the key", k.name, err)
			}
		}
	}
	type other struct{}
	if _, err := store.Decode[other](store.Item{Value: []byte(`{"schema":2}`)}); !errors.Is(err, store.ErrNewer) {
		t.Errorf("a part of a record of a later schema: %v", err)
	}
}

// TestEveryRecordIsTested: those of DESIGN.md's table, and Encode takes no others.
func TestEveryRecordIsTested(t *testing.T) {
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, row := range regexp.MustCompile("(?m)^\\| `/.*? \\| `(\\w+)` \\|").FindAllStringSubmatch(string(text), -1) {
		told = append(told, row[1])
	}
	valueless := []string{"Last", "Caution"}
	var tested []string
	for _, k := range kinds() {
		tested = append(tested, k.name)
	}
	slices.Sort(told)
	tested = append(tested, valueless...)
	slices.Sort(tested)
	if diff := cmp.Diff(told, tested); diff != "" {
		t.Errorf("records of DESIGN.md and of this test (-told +tested):\n%s", diff)
	}
	defer func() {
		if recover() == nil {
			t.Error("a type that is no record was written")
		}
	}()
	store.Encode(struct{ A int }{})
}

// TestALeaseKeepsWhatIsUnknown, in either form and when it goes from one to the
// other, as by an eviction.
func TestALeaseKeepsWhatIsUnknown(t *testing.T) {
	l := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: "h1", Nonce: "0123456789abcdef"}
	more := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 7)
	more = protowire.AppendString(protowire.AppendTag(more, 100, protowire.BytesType), "new")
	newer := append(store.Encode(l), more...)

	read := mustDecode(t, newer)
	if got := store.Encode(read); string(got) != string(newer) {
		t.Errorf("%q is written again as %q", newer, got)
	}
	read.State, read.Node = store.Quarantined, "h2"
	asJSON := store.Encode(read)
	if asJSON[0] != '{' {
		t.Fatalf("a quarantined lease is %q", asJSON)
	}
	back := mustDecode(t, asJSON)
	back.State, back.Node = store.Leased, "h1"
	if got := store.Encode(back); string(got) != string(newer) {
		t.Errorf("%q, once JSON (%s), is written again as %q", newer, asJSON, got)
	}

	// A field that the reader knows and the writer of the JSON did not: here it is
	// Since, field 12.
	since := protowire.AppendFixed32(protowire.AppendTag(nil, 12, protowire.Fixed32Type), 1_700_000_000)
	l.Unknown = mustDecode(t, newer).Unknown
	known := mustDecode(t, fmt.Appendf(nil, `{"state":"lease","kind":"dynamic","node":"h1","nonce":"0123456789abcdef","beyond":%s}`, mustJSON(t, slices.Concat(since, more))))
	l.Since = 1_700_000_000
	if diff := cmp.Diff(l, known); diff != "" {
		t.Errorf("fields in JSON that are known by now (-want +got):\n%s", diff)
	}

	// What is unknown in JSON has no compact form.
	inJSON := mustDecode(t, []byte(`{"state":"lease","kind":"dynamic","node":"h1","later":1}`))
	if got := store.Encode(inJSON); got[0] != '{' || !strings.Contains(string(got), `"later":1`) {
		t.Errorf("a lease with a member of later is written as %q", got)
	}
}

// TestAMemberTwiceIsReadAllTheSame: encoding/json takes the last one, in whichever
// letters.
func TestAMemberTwiceIsReadAllTheSame(t *testing.T) {
	for _, value := range []string{
		`{"node":"a","networks":[{"uuid":"one"}],"Networks":[{"uuid":"one"},{"uuid":"two"}],"later":1}`,
		`{"node":"a","Networks":[{"uuid":"one"},{"uuid":"two"}],"networks":[],"later":1}`,
		`{"node":"a","networks":null,"NETWORKS":[{"later":2}],"later":1}`,
	} {
		read, err := store.Decode[store.Node](store.Item{Key: "/key", Value: []byte(value)})
		if err != nil || read.Node != "a" || read.Unknown != `{"later":1}` {
			t.Errorf("%s is read as %+v, %v", value, read, err)
		}
	}
}

func mustJSON(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// BenchmarkEndpoint: one is written with every start of a container, and an agent
// reads all of them when it comes.
func BenchmarkEndpoint(b *testing.B) {
	e := store.Endpoint{
		Endpoint: endpointID, Node: machineID, Network: networkID, Name: "lan", Segment: "default", IPv4: "192.168.1.130/24",
		MAC: "02:42:c0:a8:01:82", Link: "gv-1", Parent: "eth0", Sandbox: "/var/run/docker/netns/0123456789ab", Since: 1_800_000_000,
		Container: store.Container{ID: engineID, Name: "web", Aliases: []string{"web"}, Labels: map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}},
	}
	it := leaseItem(store.Encode(e))
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			store.Encode(e)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := store.Decode[store.Endpoint](it); err != nil {
				b.Fatal(err)
			}
		}
	})
}
