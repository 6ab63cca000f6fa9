package disk_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/journal/disk"
)

func open(t *testing.T, path string) *disk.Journal {
	t.Helper()
	j, err := disk.Open(path, "boot", nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func content(t *testing.T, b *disk.Bucket) map[string]string {
	t.Helper()
	got := map[string]string{}
	if err := b.Each(func(k string, v []byte) error { got[k] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestBucketsSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "journal.db")
	j := open(t, path)
	networks, releases := j.Bucket("networks"), j.Bucket("releases")
	for _, err := range []error{
		networks.Put("a", []byte("1")),
		networks.PutAll(map[string][]byte{"b": []byte("2"), "c": []byte("3")}),
		networks.Delete("a"),
		releases.Put("a", []byte("other")),
		releases.Delete("absent"),
		j.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}

	j = open(t, path)
	defer j.Close()
	if diff := cmp.Diff(map[string]string{"b": "2", "c": "3"}, content(t, j.Bucket("networks"))); diff != "" {
		t.Errorf("networks after reopening (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "other"}, content(t, j.Bucket("releases"))); diff != "" {
		t.Errorf("releases after reopening (-want +got):\n%s", diff)
	}
}

func TestAbsentThings(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"))
	defer j.Close()
	b := j.Bucket("never written")
	if got := content(t, b); len(got) != 0 {
		t.Errorf("an unwritten bucket holds %v", got)
	}
	if err := b.Delete("x"); err != nil {
		t.Errorf("delete from an unwritten bucket: %v", err)
	}
	if _, err := b.Get("x"); !errors.Is(err, disk.ErrAbsent) {
		t.Errorf("get from an unwritten bucket: %v, want ErrAbsent", err)
	}
	if err := b.Put("y", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get("x"); !errors.Is(err, disk.ErrAbsent) {
		t.Errorf("get of an absent key: %v, want ErrAbsent", err)
	}
}
