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
		"segment":        {store.SegmentSpan("s"), []string{"lease"}},
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
