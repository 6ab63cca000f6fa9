package parentfile_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"gvlan/parentfile"
)

// FuzzParse: any text is refused in one plain line, or is a list that reads
// back as written and chooses what a container's link can hang from.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", " , ,,", "bond0,  eth1,  eth0,", "eth0.100.200", "eth1.30.200", "eth0:10", "!docker*,en*", "eth*,!eth0*",
		"subnet:fd00::/64", "subnet:192.168.1.7/24", "default-route.65,@host", "default-router", "enp0s31f6.5", "br.lan.5",
		"eth[0", "eth1.2?", "[elw]*", "eth0.4095", "eth0.99999999999999999999", "lo,eth3,wlan0", "größe", "a\x00b", "!",
	} {
		f.Add(seed)
	}
	have := host()
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parentfile.Parse(text)
		if err != nil {
			plain(t, err)
			return
		}
		again, err := parentfile.Parse(list.String())
		if err != nil {
			t.Fatalf("Parse(%q), the String of %q: %v", list.String(), text, err)
		}
		if diff := cmp.Diff(list.String(), again.String()); diff != "" {
			t.Errorf("String read back (-want +got):\n%s", diff)
		}
		for _, kind := range []string{parentfile.Macvlan, parentfile.Ipvlan, ""} {
			if choice, err := parentfile.Resolve(list, have, kind); err != nil {
				plain(t, err)
			} else {
				usable(t, text, choice, have, kind)
			}
		}
	})
}

// usable says what is wrong with hanging a container's link of that kind from
// a choice.
func usable(t *testing.T, text string, choice parentfile.Choice, have []parentfile.Interface, kind string) {
	t.Helper()
	at := slices.IndexFunc(have, func(i parentfile.Interface) bool { return i.Name == choice.Interface.Name })
	switch i := choice.Interface; {
	case at < 0:
		t.Errorf("%q chooses %q, which the host does not have", text, i.Name)
	case i.Loopback, i.Master == "bond0", i.Wireless && kind == parentfile.Macvlan:
		t.Errorf("%q chooses %+v for %s", text, i, kind)
	}
	if slices.ContainsFunc(choice.VLANs, func(vid int) bool { return vid < 1 || vid > 4094 }) {
		t.Errorf("%q wants VLANs %v", text, choice.VLANs)
	}
	if !strings.Contains(text, choice.Candidate) || choice.Candidate == "" {
		t.Errorf("%q chooses by %q, which is no item of it", text, choice.Candidate)
	}
}

// FuzzDecode: any content is refused in one plain line that points into it, or
// names parents in a way that is read alike every time.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "eth0.30", "parent = \"eth1\"", "[macvlan]\nversion = \"0.1\"\nparent = \"eth1\"\n", "parent = [\"a\", \"b,!c\"]",
		"[ipvlan", "parent = eth1", "host_iface=\"x\"", "[macvlan]\n[macvlan.parent]\nx=1", "\xef\xbb\xbf# a\r\n\r\n  eth0.30  # b\r\n",
		"parent = 1", "parent = \"eth0\\\neth1\"\n", "parent = [[1]]", "[bridge]", "\"a\\nb\" = 1", "parent = \"a\\u0000b\"", "parent = \"\"\"\na/b\"\"\"",
		"parent = \"eth0\"\nparent = \"eth1\"", "version = 2\nparent=\"eth9\"\n[ipvlan]\nparent=\"eth1\"\n", "[[macvlan]]\nparent=\"a\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parentfile.Decode(data)
		if err != nil {
			var bad *parentfile.FileError
			if !errors.As(err, &bad) || bad.Text == "" || !errors.Is(err, parentfile.ErrFile) {
				t.Fatalf("Decode(%q) = %#v, want a FileError with a text", data, err)
			}
			if lines := strings.Count(string(data), "\n") + 1; bad.Line < 0 || bad.Line > lines {
				t.Errorf("Decode(%q) blames line %d of %d", data, bad.Line, lines)
			}
			plain(t, err)
			return
		}
		if again, err := parentfile.Decode(data); err != nil || cmp.Diff(names(file), names(again)) != "" {
			t.Errorf("Decode(%q) = %v, then %v, %v", data, names(file), names(again), err)
		}
		for _, kind := range []string{parentfile.Macvlan, parentfile.Ipvlan} {
			list, err := file.List(kind)
			if err != nil {
				plain(t, err)
			} else if list.Empty() {
				t.Errorf("List(%s) of %q is empty without an error", kind, data)
			}
		}
	})
}

func names(f parentfile.File) []string {
	return []string{f.Top.String(), f.Macvlan.String(), f.Ipvlan.String()}
}

// plain wants an error that is one line without control characters.
func plain(t *testing.T, err error) {
	t.Helper()
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("refused in more than one plain line: %q", err)
	}
}
