package lab

import (
	"bytes"
	"net/netip"
	"testing"
)

// reply turns a question into the answer that a holder with a MAC gives to it.
func reply(question []byte, holder []byte) []byte {
	f := bytes.Clone(question)
	copy(f, question[6:12])
	copy(f[6:], holder)
	if f[12] == 0x08 { // ARP: swap sender and target
		f[21] = 2
		target := bytes.Clone(f[38:42])
		copy(f[32:], f[22:32])
		copy(f[22:], holder)
		copy(f[28:], target)
		return f
	}
	target := bytes.Clone(f[62:78])
	copy(f[38:54], f[22:38])
	copy(f[22:38], target)
	f[54] = icmp6Advertisement
	return f
}

// TestProbersDiffer: what comes too late for one question is nobody's answer.
func TestProbersDiffer(t *testing.T) {
	addr, holder := netip.MustParseAddr("10.0.0.7"), []byte{2, 0, 0, 0, 0, 9}
	first, second := newProber(), newProber()
	late := reply(first.question(addr), holder)
	if _, ok := first.answer(addr, late); !ok {
		t.Error("the answer to a question does not count for it")
	}
	if _, ok := second.answer(addr, late); ok {
		t.Error("a late answer to one question counts for the next")
	}
}

func TestAnswer(t *testing.T) {
	asker, other := prober{2, 0, 0, 0, 0, 1}, prober{2, 0, 0, 0, 0, 2}
	holder := []byte{2, 0, 0, 0, 0, 9}
	for _, family := range []struct{ addr, another string }{
		{"10.0.0.7", "10.0.0.8"},
		{"fd00::7", "fd00::8"},
	} {
		addr, another := netip.MustParseAddr(family.addr), netip.MustParseAddr(family.another)
		tests := []struct {
			name  string
			frame []byte
			want  bool
		}{
			{"answer", reply(asker.question(addr), holder), true},
			{"answer to another asker", reply(other.question(addr), holder), false},
			{"answer about another address", reply(asker.question(another), holder), false},
			{"the question itself", asker.question(addr), false},
			{"cut short", reply(asker.question(addr), holder)[:40], false},
		}
		for _, tt := range tests {
			t.Run(tt.name+" "+family.addr, func(t *testing.T) {
				mac, ok := asker.answer(addr, tt.frame)
				if ok != tt.want {
					t.Fatalf("is an answer: %t, want %t", ok, tt.want)
				}
				if ok && !bytes.Equal(mac, holder) {
					t.Errorf("MAC is %s, want %x", mac, holder)
				}
			})
		}
	}
}
