package cluster

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
)

// hints is one of each kind, and of each end of the revisions.
func hints() []Hint {
	return []Hint{
		{Kind: Networks, ID: IDOf("/networks/lan1"), Rev: 1},
		{Kind: Endpoints, ID: IDOf("/endpoints/n/e"), Rev: 1<<63 - 1},
		{Kind: Nodes, ID: IDOf("/nodes/n")},
	}
}

func TestHintsSurviveTheWire(t *testing.T) {
	for _, hint := range hints() {
		for _, relay := range []bool{true, false} {
			want := frame{from: senderOf("node-a"), relay: relay, hint: hint}
			raw := want.encode()
			if len(raw) > hintLimit {
				t.Errorf("%+v takes %d bytes, more than %d", hint, len(raw), hintLimit)
			}
			got, err := decodeFrame(raw)
			if err != nil {
				t.Errorf("%+v: %v", hint, err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(frame{})); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", hint, diff)
			}
		}
	}
}

func TestHintsOfOthers(t *testing.T) {
	good := frame{from: 1, hint: Hint{Kind: Nodes, Rev: 1}}.encode()
	tests := []struct {
		name    string
		raw     []byte
		unknown bool // a newer agent's, which is no mistake
	}{
		{"nothing", nil, true},
		{"a header cut short", good[:9], true},
		{"a newer version", append([]byte{2}, good[1:]...), true},
		{"a newer message", append([]byte{1, 99}, good[2:]...), true},
		{"a body cut short", good[:len(good)-1], false},
		{"a body too long", append(bytes.Clone(good), 0), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := decodeFrame(test.raw)
			if err == nil || errors.Is(err, errUnknownHint) != test.unknown {
				t.Errorf("got %v, want an error that is unknown: %v", err, test.unknown)
			}
		})
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, hint := range hints() {
		f.Add(frame{from: 7, relay: true, hint: hint}.encode())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := decodeFrame(raw)
		if err != nil {
			return
		}
		again, err := decodeFrame(got.encode())
		if err != nil {
			t.Fatalf("%+v does not survive: %v", got, err)
		}
		if diff := cmp.Diff(got, again, cmp.AllowUnexported(frame{})); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}

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
