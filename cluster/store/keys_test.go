package store_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"gvlan/cluster/store"
)

func drawAddr(rt *rapid.T, label string) netip.Addr {
	raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, label)
	if rapid.Bool().Draw(rt, label+" is v4") {
		raw = raw[:4]
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}

func TestLeaseKeys(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawAddr(rt, "a"), drawAddr(rt, "b")
		segment, back, err := store.LeaseOf(store.LeaseKey("lab", a))
		if err != nil || segment != "lab" || back != a {
			rt.Fatalf("LeaseOf: %s %s, %v; want lab %s", segment, back, err, a)
		}
		if a.BitLen() == b.BitLen() && (a.Less(b) != (store.LeaseKey("lab", a) < store.LeaseKey("lab", b))) {
			rt.Fatalf("keys of %s and %s are not in their order", a, b)
		}
		subnet := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(rt, "bits"))
		span := store.LeasesSpan("lab", subnet)
		if got := span.Contains(store.LeaseKey("lab", b)); got != subnet.Contains(b) {
			rt.Fatalf("span of %s contains %s: %v", subnet, b, got)
		}
		if got := span.Contains(store.CooldownKey("lab", b)); got != subnet.Contains(b) {
			rt.Fatalf("span of %s contains the cooldown of %s: %v", subnet, b, got)
		}
		if !store.LeasesSpan("lab", netip.PrefixFrom(a, a.BitLen())).Contains(store.CooldownKey("lab", a)) {
			rt.Fatalf("span of %s alone lacks its cooldown", a)
		}
		segment, back, ok := store.CooldownOf(store.CooldownKey("lab", a))
		if !ok || segment != "lab" || back != a {
			rt.Fatalf("CooldownOf: %s %s, %v; want lab %s", segment, back, ok, a)
		}
		if _, _, err := store.LeaseOf(store.CooldownKey("lab", a)); err == nil {
			rt.Fatalf("the cooldown of %s is taken for a lease", a)
		}
		if _, _, ok := store.CooldownOf(store.LeaseKey("lab", a)); ok {
			rt.Fatalf("the lease of %s is taken for a cooldown", a)
		}
		if !span.Contains(store.LeaseKey("lab", a)) || span.Contains(store.LeaseKey("lab2", a)) {
			rt.Fatalf("span of %s lacks %s, or reaches another segment", subnet, a)
		}
	})
}

func TestLeaseOfRefuses(t *testing.T) {
	for _, key := range []string{
		"", "/leases/lab/4", "/leases/lab/4/zz", "/leases/lab/4/0a0b0c", "/leases/lab/6/0a000001", "/epochs/a", "/leases/lab/4/0a000001/x",
	} {
		if segment, addr, err := store.LeaseOf(key); err == nil {
			t.Errorf("%q is read as %s in %s", key, addr, segment)
		}
	}
}

// TestNamesAreNoPaths: Docker takes any text as a name, and a key of one name
// is never read as that of another.
func TestNamesAreNoPaths(t *testing.T) {
	odd := rapid.OneOf(rapid.StringOf(rapid.RuneFrom([]rune("a/%25F.é\n"))), rapid.String())
	rapid.Check(t, func(rt *rapid.T) {
		name, other := odd.Draw(rt, "name"), odd.Draw(rt, "other")
		for kind, key := range map[string]func(string) string{
			"network":  store.NetworkKey,
			"epoch":    store.EpochKey,
			"node":     store.NodeKey,
			"live":     store.LiveKey,
			"refs":     store.RefsKey,
			"removal":  func(name string) string { return store.RemovalKey("u", name) },
			"endpoint": func(name string) string { return store.EndpointKey("n", name) },
		} {
			if got := store.NameOf(key(name)); got != name {
				rt.Fatalf("the key of %s %q, %s, is read as that of %q", kind, name, key(name), got)
			}
		}
		if name == other {
			return
		}
		if store.NodeEndpointsSpan(name).Contains(store.EndpointKey(other, "e")) {
			rt.Fatalf("the endpoints of node %q include those of %q", name, other)
		}
		addr := netip.MustParseAddr("10.0.0.1")
		if store.LeasesSpan(name, netip.MustParsePrefix("0.0.0.0/0")).Contains(store.LeaseKey(other, addr)) {
			rt.Fatalf("the leases of segment %q include those of %q", name, other)
		}
		if segment, _, err := store.LeaseOf(store.LeaseKey(name, addr)); err != nil || segment != name {
			rt.Fatalf("the lease key of segment %q is read as of %q: %v", name, segment, err)
		}
	})
	for name, want := range map[string]string{"prod_lan-1.x": "prod_lan-1.x", "prod/lan": "prod%2Flan", "..": "..", "büro 2": "büro 2"} {
		if got := store.NetworkKey(name); got != "/networks/"+want {
			t.Errorf("%s is kept at %s, want /networks/%s", name, got, want)
		}
	}
}

// No folder's span reaches into another's.
func TestSpansAreApart(t *testing.T) {
	keys := map[string]string{
		"network":  store.NetworkKey("lan"),
		"stone":    store.TombstoneKey("u"),
		"removal":  store.RemovalKey("u", "n"),
		"epoch":    store.EpochKey("n"),
		"node":     store.NodeKey("n"),
		"live":     store.LiveKey("n"),
		"endpoint": store.EndpointKey("n", "e"),
		"refs":     store.RefsKey("n"),
		"lease":    store.LeaseKey("s", netip.MustParseAddr("10.0.0.1")),
		"default":  store.DefaultPoolKey(netip.MustParsePrefix("172.18.0.0/16")),
		"meta":     store.MetaKey(),
		"gossip":   store.GossipKeysKey(),
	}
	for name, c := range map[string]struct {
		span store.Span
		want []string
	}{
		"networks":       {store.NetworksSpan(), []string{"network"}},
		"tombstones":     {store.TombstonesSpan(), []string{"stone"}},
		"removals":       {store.RemovalsSpan(), []string{"removal"}},
		"removal":        {store.RemovalSpan("u"), []string{"removal"}},
		"epochs":         {store.EpochsSpan(), []string{"epoch"}},
		"nodes":          {store.NodesSpan(), []string{"node"}},
		"live":           {store.LiveSpan(), []string{"live"}},
		"endpoints":      {store.EndpointsSpan(), []string{"endpoint"}},
		"node endpoints": {store.NodeEndpointsSpan("n"), []string{"endpoint"}},
		"other node's":   {store.NodeEndpointsSpan("nn"), nil},
		"refs":           {store.RefsSpan(), []string{"refs"}},
		"leases":         {store.AllLeasesSpan(), []string{"lease"}},
		"segment":        {store.LeasesSpan("s", netip.MustParsePrefix("0.0.0.0/0")), []string{"lease"}},
		"defaults":       {store.DefaultPoolsSpan(), []string{"default"}},
	} {
		var got []string
		for kind, key := range keys {
			if c.span.Contains(key) {
				got = append(got, kind)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s covers %v, want %v", name, got, c.want)
		}
	}
	if all := store.Prefix(""); !all.Contains(store.MetaKey()) {
		t.Error("the empty prefix covers nothing")
	}
}

func TestNamesBesideDefinitions(t *testing.T) {
	if nonce, node, ok := store.PoolOf(store.PoolEntry("0f", "a@b")); nonce != "0f" || node != "a@b" || !ok {
		t.Errorf("the entry of a pool is read as %q of %q, %v", nonce, node, ok)
	}
	uuid := "0190f3c2-8b1e-7cc3-9d15-6b0f6e8f8a11"
	if _, _, ok := store.PoolOf(uuid); ok {
		t.Error("a uuid is read as the entry of a pool")
	}
	for name, c := range map[string]struct {
		write func(string) string
		read  func(string) (string, bool)
	}{
		"engine":  {store.EngineNetwork, store.EngineNetworkOf},
		"manager": {store.ManagerNetwork, store.ManagerNetworkOf},
		"import":  {store.ImportNetwork, store.ImportNetworkOf},
	} {
		if id, ok := c.read(c.write(uuid)); id != uuid || !ok {
			t.Errorf("%s: %q is read as %q, %v", name, c.write(uuid), id, ok)
		}
		if _, ok := c.read(uuid); ok {
			t.Errorf("%s: a uuid is read as one", name)
		}
	}
}

// TestTrailKeys: what nothing depends on sorts after all else, and a node's in
// the order of their numbers.
func TestTrailKeys(t *testing.T) {
	for _, span := range []store.Span{
		store.NetworksSpan(), store.TombstonesSpan(), store.RemovalsSpan(), store.NodesSpan(), store.LiveSpan(), store.EpochsSpan(), store.RefsSpan(),
		store.DefaultPoolsSpan(), store.EndpointsSpan(), store.MACsSpan(), store.AllLeasesSpan(), store.QuarantinesSpan(), store.OwnSpan(), store.RecoverySpan(), store.LastSpan(),
	} {
		if span.To > store.TrailsSpan().From {
			t.Errorf("%s reaches beyond the trail", span.From)
		}
	}
	keys := []string{store.TrailKey("h/1", 9), store.TrailKey("h/1", 1<<41), store.TrailKey("h/1", 1<<43), store.TrailEndKey("h/1", 7)}
	if !slices.IsSorted(keys) {
		t.Errorf("%q are not in order", keys)
	}
	for i, key := range keys {
		number, ok := store.TrailNumber(key)
		if ok != (i < 3) || i == 1 && number != 1<<41 || !store.TrailSpan("h/1").Contains(key) || store.TrailSpan("h").Contains(key) {
			t.Errorf("%s has number %d, %v", key, number, ok)
		}
	}
}
