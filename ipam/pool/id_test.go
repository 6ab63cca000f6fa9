package pool

import "testing"

func TestParseID(t *testing.T) {
	for _, c := range []struct{ name, id, err string }{
		{"plain", "v1|gvlan-local|default|10.0.0.0/24||" + someNonce, ""},
		{"range", "v1|gvlan-global|a.b|10.0.0.0/24|10.0.0.128/25|" + someNonce, ""},
		{"v6", "v1|gvlan-local|default|fd00::/64||" + someNonce, ""},
		{"empty", "", "want v1|space"},
		{"other version", "v2|gvlan-local|default|10.0.0.0/24||" + someNonce, "want v1|space"},
		{"other space", "v1|LocalDefault|default|10.0.0.0/24||" + someNonce, "no address space"},
		{"segment", "v1|gvlan-local|a/b|10.0.0.0/24||" + someNonce, "segment"},
		{"host bits", "v1|gvlan-local|default|10.0.0.1/24||" + someNonce, "host bits"},
		{"host bits in the range", "v1|gvlan-local|default|10.0.0.0/24|10.0.0.1/25|" + someNonce, "host bits"},
		{"sloppy v6", "v1|gvlan-local|default|fd00:0::/64||" + someNonce, "want it written"},
		{"range outside", "v1|gvlan-local|default|10.0.0.0/24|10.0.1.0/25|" + someNonce, "not inside"},
		{"nonce", "v1|gvlan-local|default|10.0.0.0/24||xyz", "hexadecimal"},
		{"more", "v1|gvlan-local|default|10.0.0.0/24||" + someNonce + "|x", "want v1|space"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ParseID(c.id)
			checkErr(t, err, c.err)
			if err == nil && p.String() != c.id {
				t.Errorf("String() = %q, want %q", p, c.id)
			}
		})
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("v1|gvlan-local|default|10.0.0.0/24|10.0.0.128/25|" + someNonce)
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParseID(s); err == nil && p.String() != s {
			t.Errorf("%q parses to %q", s, p)
		}
	})
}
