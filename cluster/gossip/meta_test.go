package gossip

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
)

func TestMetaSurvivesTheWire(t *testing.T) {
	want := Meta{Flags: Draining | Leaving, DNSPort: 53, Gen: 7, Parents: 1 << 60}
	raw := want.encode()
	if len(raw) != metaSize {
		t.Errorf("metadata takes %d bytes, want %d", len(raw), metaSize)
	}
	got, err := decodeMeta(append(raw, "of a newer agent"...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := decodeMeta(raw[:metaSize-1]); err == nil {
		t.Error("metadata cut short was read")
	}
}

func TestMetaInWords(t *testing.T) {
	for want, meta := range map[string]Meta{
		"":                          {Gen: 7, Parents: 1},
		"names at port 5354":        {DNSPort: 5354},
		"leaving, drained":          {Flags: Draining | Leaving},
		"no IPv6, no names":         {Flags: NoIPv6 | DNSOff},
		"drained, names at port 53": {Flags: Draining, DNSPort: 53},
	} {
		if got := strings.Join(meta.Remarks(), ", "); got != want {
			t.Errorf("%+v says %q, want %q", meta, got, want)
		}
	}
}

func TestAckSurvivesTheWire(t *testing.T) {
	want := Ack{Health: 3, Ring: 0xfffffffe, Applied: 1 << 40, Clock: time.Unix(1_700_000_000, 5)}
	got, err := decodeAck(want.encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	older, err := decodeAck(want.encode()[:ackSizeNoClock])
	if err != nil || older.Applied != want.Applied || !older.Clock.IsZero() {
		t.Errorf("the acknowledgement of an older agent is read as %+v (%v), want it without a clock", older, err)
	}
	if _, err := decodeAck(nil); err == nil {
		t.Error("an empty acknowledgement was read")
	}
}

// TestClocksAreCompared: an answer tells how far the other's clock is from
// this host's; that of an older agent does not.
func TestClocksAreCompared(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	members := newTable(func() time.Time { return now })
	members.saw("peer", netip.AddrPort{}, Meta{})
	for name, tt := range map[string]struct {
		clock time.Time
		want  time.Duration
	}{
		"ahead":            {now.Add(5*time.Second - 20*time.Millisecond), 5 * time.Second},
		"behind":           {now.Add(-time.Minute - 20*time.Millisecond), -time.Minute},
		"an older agent's": {time.Time{}, 0},
	} {
		members.answered("peer", 40*time.Millisecond, Ack{Clock: tt.clock})
		if m, _ := members.get("peer"); m.Ahead != tt.want {
			t.Errorf("%s: the peer's clock is %s ahead, want %s", name, m.Ahead, tt.want)
		}
	}
}

func TestParentsDigest(t *testing.T) {
	eth0, eth1 := store.Interface{Name: "eth0", MTU: 1500}, store.Interface{Name: "eth1", MTU: 1500}
	if ParentsDigest([]store.Interface{eth0, eth1}) != ParentsDigest([]store.Interface{eth1, eth0}) {
		t.Error("the digest depends on the order")
	}
	changed := eth1
	changed.MTU = 9000
	if ParentsDigest([]store.Interface{eth0, eth1}) == ParentsDigest([]store.Interface{eth0, changed}) {
		t.Error("the digest does not see another MTU")
	}
}
