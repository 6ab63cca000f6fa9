package pool

import "testing"

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		name  string
		given map[string]string
		err   string
	}{
		{"none", nil, ""},
		{"all", map[string]string{"segment": "vlan65", "overlap": "ok", "exclude": "10.0.0.1, 10.0.0.5-10.0.0.9,fd00::/112", "order": "random", "cooldown": "5m", "sticky": "720h", "block": "26"}, ""},
		{"Docker's own pass", map[string]string{"com.docker.network.ipam.serial": "true", "RequestAddressType": "com.docker.network.gateway"}, ""},
		{"misspelt", map[string]string{"segmnet": "a"}, "--ipam-opt segmnet is not known: did you mean segment?"},
		{"near nothing", map[string]string{"gateway": "x"}, "the options are segment, overlap, exclude, order, cooldown, sticky"},
		{"near another", map[string]string{"ordr": "random"}, "did you mean order?"},
		{"segment with a slash", map[string]string{"segment": "a/b"}, "segment=a/b is not a segment name"},
		{"segment with a bar", map[string]string{"segment": "a|b"}, "is not a segment name"},
		{"empty segment", map[string]string{"segment": ""}, "is not a segment name"},
		{"overlap", map[string]string{"overlap": "yes"}, "give overlap=ok"},
		{"order", map[string]string{"order": "highest"}, "order=lowest, order=random or order=aged"},
		{"exclude", map[string]string{"exclude": "10.0.0.9-10.0.0.1"}, `"10.0.0.9-10.0.0.1" is neither`},
		{"cooldown", map[string]string{"cooldown": "soon"}, `--ipam-opt cooldown "soon": give a time of at most 1h`},
		{"sticky", map[string]string{"sticky": "always"}, `--ipam-opt sticky "always": give a time of at most 720h, as 30m or 24h, or 0 for none`},
		{"sticky too long", map[string]string{"sticky": "721h"}, `sticky "721h": give a time of at most 720h`},
		{"sticky backwards", map[string]string{"sticky": "-1s"}, `sticky "-1s": give a time of at most 720h`},
		{"block", map[string]string{"block": "/26"}, "--ipam-opt block=/26: give the length of an IPv4 block from 16 to 30, as block=26 for 64 addresses (of IPv6 as many), or block=off"},
		{"block too long", map[string]string{"block": "31"}, "from 16 to 30"},
		{"block too short", map[string]string{"block": "15"}, "from 16 to 30"},
		{"exclude of two families", map[string]string{"exclude": "10.0.0.9-fd00::"}, "is neither"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseOptions(c.given)
			checkErr(t, err, c.err)
		})
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"order", "ordre", 2}, {"exclude", "exlude", 1}, {"kitten", "sitting", 3}} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

const someNonce = "0123456789abcdef0123456789abcdef"
