package parentfile_test

import (
	"testing"

	"gvlan/parentfile"
)

func TestKeyLine(t *testing.T) {
	const text = "# parent = \"x\"\nparent = \"eth0\"\n[macvlan]\n\"parent\" = \"eth1\"\n[a.'b']\nc = 1\nd.e = [\n  \"f\",\n]\n[[g]]\n"
	tests := []struct {
		key  []string
		want int
	}{
		{[]string{"parent"}, 2},
		{[]string{"macvlan"}, 3},
		{[]string{"macvlan", "parent"}, 4},
		{[]string{"a", "b"}, 5},
		{[]string{"a", "b", "c"}, 6},
		{[]string{"a", "b", "d", "e"}, 7},
		{[]string{"g"}, 10},
		{[]string{"c"}, 0},
		{[]string{"none"}, 0},
	}
	for _, test := range tests {
		if got := parentfile.KeyLine(text, test.key...); got != test.want {
			t.Errorf("%q is on line %d, want %d", test.key, got, test.want)
		}
	}
}
