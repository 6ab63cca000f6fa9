package reserve_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
)

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// office is a store with a network, and its desk.
type office struct {
	*testing.T
	mem  *storetest.Mem
	def  store.Row[store.Network]
	desk reserve.Desk
}

func open(t *testing.T) *office {
	o := &office{T: t, mem: storetest.NewMem()}
	o.def = store.Row[store.Network]{Key: store.NetworkKey("lan"), Record: store.Network{
		UUID: "lan-uuid", Name: "lan", State: store.NetworkActive,
		Created: store.Definition{Segment: "default", IPAMOptions: map[string]string{"exclude": "10.0.0.250-10.0.0.252"}, Pools: []store.Pool{
			{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Gateway: addr("10.0.0.1"), Aux: map[string]netip.Addr{"nas": addr("10.0.0.7")}},
			{Subnet: netip.MustParsePrefix("fd00::/64"), Gateway: addr("fd00::1")},
			{Subnet: netip.MustParsePrefix("10.8.0.0/16")},
		}},
		Overrides: store.Overrides{Exclude: []string{"10.0.0.240"}},
	}}
	o.def.Modified = o.put(store.Put(o.def.Key, store.Encode(o.def.Record)))
	o.put(store.Put(store.NodeKey("h1"), store.Encode(store.Node{Node: "h1", Interfaces: []store.Interface{{Addresses: []string{"10.0.0.3/24"}}}})))
	o.desk = reserve.Desk{KV: o.mem, Node: "h1", Now: func() time.Time { return time.Unix(1_000_000, 0) }}
	return o
}

func (o *office) put(ops ...store.Op) store.Revision {
	o.Helper()
	res, err := o.mem.Commit(o.Context(), store.Txn{Then: ops})
	if err != nil {
		o.Fatal(err)
	}
	return res.Revision
}

// reserved are the addresses that are.
func (o *office) reserved() (all []reserve.Reservation) {
	o.Helper()
	items, _, err := o.mem.List(o.Context(), store.ReservationsSpan())
	if err != nil {
		o.Fatal(err)
	}
	for _, it := range items {
		r, ok := reserve.Read(it)
		if !ok || r.Network == "" {
			o.Fatalf("%s is %s", it.Key, it.Value)
		}
		all = append(all, r)
	}
	return all
}

func wish(addresses string) reserve.Wish {
	first, last, err := reserve.ParseAddresses(addresses)
	if err != nil {
		panic(err)
	}
	return reserve.Wish{First: first, Last: last}
}

// TestWhatCannotBeReserved is refused with the reason, and nothing of it is reserved.
func TestWhatCannotBeReserved(t *testing.T) {
	o := open(t)
	o.put(store.Put(store.LeaseKey("default", addr("10.0.0.20")), store.Encode(store.Lease{State: store.Reserved, By: []string{"other"}})),
		store.Put(store.ReservationKey("default", addr("10.0.0.30")), store.Encode(store.Reservation{Network: "lan-uuid", Name: "lan", For: "db", MAC: "02:00:00:00:00:01"})),
		store.Put(store.ReservationKey("default", addr("10.0.0.31")), store.Encode(store.Reservation{Network: "other", Name: "lan2", For: "db"})))
	for _, tt := range []struct {
		addresses string
		change    func(*reserve.Wish)
		want      string
	}{
		{"10.1.0.9", nil, "address 10.1.0.9 lies in no subnet of network lan: those are 10.0.0.0/24, fd00::/64, 10.8.0.0/16"},
		{"10.0.0.0", nil, "is the network address of network lan"},
		{"10.0.0.255", nil, "is the broadcast address"},
		{"fd00::", nil, "is the subnet-router anycast address"},
		{"10.0.0.1", nil, "is the gateway of network lan"},
		{"10.0.0.5-10.0.0.9", nil, "address 10.0.0.7 is the auxiliary address nas of network lan"},
		{"10.0.0.2-10.0.0.4", nil, "address 10.0.0.3 is host h1's own"},
		{"10.0.0.251", nil, "is excluded from network lan"},
		{"10.0.0.240", nil, "gvlan network set lan exclude-=10.0.0.240"},
		{"10.0.0.19-10.0.0.21", nil, "address 10.0.0.20 is kept by a network of segment default for itself"},
		{"10.0.0.29-10.0.0.30", nil, "address 10.0.0.30 is reserved for container db on network lan: end that first (gvlan unreserve lan 10.0.0.30)"},
		{"10.0.0.31", func(w *reserve.Wish) { w.For = "db" }, "on network lan2: end that first (gvlan unreserve lan2 10.0.0.31)"},
		{"10.0.0.40", func(w *reserve.Wish) { w.MAC = "02:00:00:00:00:01" }, "--mac 02:00:00:00:00:01 goes with address 10.0.0.30"},
		{"10.0.0.40-10.0.0.41", func(w *reserve.Wish) { w.MAC = "02:00:00:00:00:02" }, "goes with one address"},
		{"10.0.0.40", func(w *reserve.Wish) { w.For = "web/1" }, `--for "web/1" is no container's name`},
		{"10.0.0.40", func(w *reserve.Wish) { w.Note = "two\nlines" }, "give one line"},
		{"10.0.0.40", func(w *reserve.Wish) { w.Note = strings.Repeat("x", 201) }, "at most 200 bytes"},
	} {
		w := wish(tt.addresses)
		if tt.change != nil {
			tt.change(&w)
		}
		if _, err := o.desk.Reserve(t.Context(), o.def, w); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.addresses, err, tt.want)
		}
	}
	if left := o.reserved(); len(left) != 2 {
		t.Errorf("reserved are %v, want what was", left)
	}
}

// TestAddressesThatAreNone are refused before anybody is asked.
func TestAddressesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"printer": "is neither an address", "10.0.0.9-": "nor a range", "fe80::1%eth0": "is neither",
		"10.0.0.9-10.0.0.1": "the first address comes first", "10.0.0.9-fd00::1": "both are IPv4 or both IPv6",
		"10.0.0.0-10.0.16.0": "has more than 4096 addresses", "fd00::-fd00:ffff::": "has more than 4096 addresses",
	} {
		if _, _, err := reserve.ParseAddresses(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if first, last, err := reserve.ParseAddresses("10.0.0.1-10.0.16.0"); err != nil || first != addr("10.0.0.1") || last != addr("10.0.16.0") {
		t.Errorf("4096 addresses: %s %s %v", first, last, err)
	}
}

// TestReserveAgain changes what goes with a reservation, tells what it was, and
// tells who has an address.
func TestReserveAgain(t *testing.T) {
	o := open(t)
	o.put(store.Put(store.LeaseKey("default", addr("10.0.0.51")), store.Encode(store.Lease{State: store.Leased, Node: "h2", Endpoint: "e"})),
		store.Put(store.CooldownKey("default", addr("10.0.0.52")), store.Encode(store.Cooldown{Since: 1})))
	w := wish("10.0.0.50-10.0.0.52")
	w.For, w.Note = "web", "rule 12"
	out, err := o.desk.Reserve(t.Context(), o.def, w)
	if err != nil || out.Made != 3 || len(out.InUse) != 1 || out.InUse[0] != (reserve.Held{Address: addr("10.0.0.51"), Node: "h2", Endpoint: "e"}) || out.Revision == 0 {
		t.Errorf("made %+v, %v", out, err)
	}
	if out, err = o.desk.Reserve(t.Context(), o.def, w); err != nil || out.Same != 3 || out.Made+out.Changed != 0 || out.Revision != 0 {
		t.Errorf("again %+v, %v", out, err)
	}
	later := o.reserved()[0]
	later.Unknown = `{"later":1}`
	o.put(store.Put(store.ReservationKey("default", w.First), store.Encode(later.Reservation)))
	w.Last, w.MAC = w.First, "02:00:00:00:00:01"
	if out, err = o.desk.Reserve(t.Context(), o.def, w); err != nil || out.Changed != 1 || out.Before != `no MAC address and note "rule 12"` {
		t.Errorf("changed %+v, %v", out, err)
	}
	all := o.reserved()
	if len(all) != 3 || all[0].MAC != w.MAC || all[1].MAC != "" || all[2].For != "web" || all[0].Since != 1_000_000 || all[0].Node != "h1" || all[0].Unknown != later.Unknown {
		t.Errorf("reserved are %+v", all)
	}
	if out, err := o.desk.Unreserve(t.Context(), o.def, wish("10.0.0.40-10.0.0.51")); err != nil || out.Ended != 2 {
		t.Errorf("ended %+v, %v", out, err)
	}
	if _, err := o.desk.Unreserve(t.Context(), o.def, wish("10.0.0.40-10.0.0.51")); err == nil {
		t.Error("what is not reserved is ended again")
	}
	other := o.def
	other.Record.UUID, other.Record.Name = "other-uuid", "lan2"
	if _, err := o.desk.Unreserve(t.Context(), other, wish("10.0.0.52")); err == nil || !strings.Contains(err.Error(), "gvlan unreserve lan 10.0.0.52") {
		t.Errorf("another network's: %v", err)
	}
}

// TestARangeIsReservedWhole, in as many transactions as it takes, and goes with its
// network; one that changed meanwhile ends neither.
func TestARangeIsReservedWhole(t *testing.T) {
	o := open(t)
	if _, err := o.desk.Reserve(t.Context(), o.def, wish("10.8.0.1-10.8.16.0")); err != nil {
		t.Fatal(err)
	}
	if all := o.reserved(); len(all) != reserve.Most {
		t.Errorf("%d addresses are reserved", len(all))
	}
	stale := o.def
	o.def.Modified = o.put(store.Put(o.def.Key, store.Encode(o.def.Record)))
	if err := o.desk.EndAll(t.Context(), stale); !errors.Is(err, reserve.ErrMeanwhile) {
		t.Errorf("as it was before: %v", err)
	}
	if _, err := o.desk.Reserve(t.Context(), stale, wish("10.0.0.9")); !errors.Is(err, reserve.ErrMeanwhile) {
		t.Errorf("reserve on what was before: %v", err)
	}
	o.put(store.Put(store.ReservationKey("default", addr("10.9.0.1")), store.Encode(store.Reservation{Network: "other-uuid", Name: "lan2"})))
	if err := o.desk.EndAll(t.Context(), o.def); err != nil {
		t.Fatal(err)
	}
	if all := o.reserved(); len(all) != 1 || all[0].Name != "lan2" {
		t.Errorf("left are %v", all)
	}
}

// TestABookForgetsWhatItsStoreForgot: a list takes the place of what was known, and
// what cannot be read is reserved for nobody.
func TestABookForgetsWhatItsStoreForgot(t *testing.T) {
	item := func(address string, value []byte) store.Item {
		return store.Item{Key: store.ReservationKey("default", addr(address)), Value: value, Created: 1, Modified: 2}
	}
	web := store.Encode(store.Reservation{Network: "n", Name: "lan", For: "web", MAC: "02:00:00:00:00:01"})
	var b reserve.Book
	if b.Listed() || b.In("default").Has(addr("10.0.0.2")) {
		t.Error("an empty book knows something")
	}
	b.Apply(store.Change{Reset: true, Items: []store.Item{item("10.0.0.2", web), item("10.0.0.3", []byte("{"))}})
	if r, found := b.WithMAC("default", "02:00:00:00:00:01"); !b.Listed() || !found || r.At.Addr != addr("10.0.0.2") || len(b.For("default", "web")) != 1 || len(b.For("other", "web")) != 0 || !b.HasNamed("default") {
		t.Errorf("it knows %v", b.All())
	}
	if r, found := b.At(pool.At("default", addr("10.0.0.3"))); !found || (reserve.Asker{Name: "web", Idle: []string{""}}).May(r.Reservation) || !b.In("default").Has(addr("10.0.0.3")) {
		t.Errorf("of what cannot be read it knows %v", r)
	}
	b.Apply(store.Change{Events: []store.Event{{Item: item("10.0.0.2", nil), Deleted: true}}, Revision: 7})
	if b.In("default").Has(addr("10.0.0.2")) || b.HasNamed("default") {
		t.Error("what was deleted is reserved")
	}
	b.Await(t.Context(), 7)
	b.Apply(store.Change{Reset: true})
	if len(b.All()) != 0 || b.In("default").Has(addr("10.0.0.3")) {
		t.Errorf("after an empty list it knows %v", b.All())
	}
}

// TestAListThatComesLate does not take the place of what the watch told meanwhile.
func TestAListThatComesLate(t *testing.T) {
	b := &reserve.Book{}
	it := store.Item{Key: store.ReservationKey("default", netip.MustParseAddr("10.0.0.9")), Value: []byte("{}"), Created: 7, Modified: 7}
	b.Begin(nil, 5)
	if !b.Listed() {
		t.Error("the first list counts for nothing")
	}
	b.Apply(store.Change{Reset: true, Items: []store.Item{it}, Revision: 7})
	b.Begin(nil, 6)
	if len(b.All()) != 1 {
		t.Errorf("reserved %v, want what the watch told", b.All())
	}
}
