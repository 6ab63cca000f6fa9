package gossip

import (
	"strings"
	"testing"

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
	want := Ack{Health: 3, Ring: 0xfffffffe, Applied: 1 << 40}
	got, err := decodeAck(want.encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := decodeAck(nil); err == nil {
		t.Error("an empty acknowledgement was read")
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
