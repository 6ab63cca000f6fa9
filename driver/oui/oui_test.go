package oui_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"gvlan/driver/oui"
)

func TestWhoMadeACard(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "usr/share/hwdata/oui.txt")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	list := "OUI/MA-L\t\tOrganization\n\n00-00-5E   (hex)\t\tICANN, IANA Department\r\n00005E     (base 16)\t\tICANN, IANA Department\r\n" +
		"02-42-AC   (hex)\t\tNobody\n"
	if err := os.WriteFile(path, []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	l := oui.New(func(path string) string { return filepath.Join(root, path) })
	for mac, want := range map[string]string{
		"00:00:5e:00:01:07": "ICANN, IANA Department",
		"00:00:5f:00:01:07": "",
		"02:42:ac:00:01:07": "", // software made it
	} {
		at, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := l.Of(at); got != want {
				t.Errorf("%s is made by %q, want %q", mac, got, want)
			}
		}
	}
	none := oui.New(func(string) string { return filepath.Join(root, "none") })
	if got := none.Of(net.HardwareAddr{0, 0, 0x5e, 0, 0, 0}); got != "" {
		t.Errorf("without a list: %q", got)
	}
}
