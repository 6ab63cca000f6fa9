package disk_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/journal"
	"gvlan/driver/journal/disk"
)

const bucket = "b"

func values(pairs ...string) map[journal.Key][]byte {
	all := map[journal.Key][]byte{}
	for _, pair := range pairs {
		key, value, there := strings.Cut(pair, "=")
		if all[journal.Key{Bucket: bucket, Key: key}] = nil; there {
			all[journal.Key{Bucket: bucket, Key: key}] = []byte(value)
		}
	}
	return all
}

func keep(t *testing.T, j *disk.Journal, pairs ...string) {
	t.Helper()
	if _, err := j.Keep(values(pairs...)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, j *disk.Journal, pairs ...string) {
	t.Helper()
	if err := j.Write(values(pairs...)); err != nil {
		t.Fatal(err)
	}
}

// copied is the journal as an agent finds it that starts now, while the one that
// had it is dead.
func copied(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "journal.db")
	for _, suffix := range []string{"", ".recent"} {
		raw, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+suffix, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func openAt(t *testing.T, path, boot string) *disk.Journal {
	t.Helper()
	j, err := disk.Open(path, boot, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func has(t *testing.T, j *disk.Journal, want ...string) {
	t.Helper()
	got := map[string]string{}
	if err := j.Each(bucket, func(k string, v []byte) error { got[k] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	wanted := map[string]string{}
	for _, pair := range want {
		k, v, _ := strings.Cut(pair, "=")
		wanted[k] = v
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("the journal holds (-want +got):\n%s", diff)
	}
}

// TestWhatIsKeptOutlivesTheAgent and not the boot, but where a write took it
// along.
func TestWhatIsKeptOutlivesTheAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openAt(t, path, "boot")
	write(t, j, "a=1", "b=1", "gone=1")
	keep(t, j, "a=2")
	write(t, j, "b=2")
	keep(t, j, "c=3", "b=3")
	keep(t, j, "gone", "c=4", "empty=")
	has(t, j, "a=2", "b=3", "c=4", "empty=")
	dead := copied(t, path)
	again := openAt(t, dead, "boot")
	has(t, again, "a=2", "b=3", "c=4", "empty=")
	keep(t, again, "d=5")
	write(t, again, "a=5")
	has(t, openAt(t, copied(t, dead), "next boot"), "a=5", "b=3", "c=4", "d=5", "empty=")
	cut := openAt(t, copied(t, path), "next boot")
	has(t, cut, "a=2", "b=2", "gone=1")
	keep(t, cut, "b=4")
	has(t, cut, "a=2", "b=4", "gone=1")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	has(t, openAt(t, path, "next boot"), "a=2", "b=3", "c=4", "empty=")
}

// TestAWriteIsNotUndone by what was kept before it: the file still has the line.
func TestAWriteIsNotUndone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openAt(t, path, "boot")
	keep(t, j, "a=1", "b=1")
	write(t, j, "a=2")
	write(t, j, "b")
	if raw, err := os.ReadFile(path + ".recent"); err != nil || !bytes.Contains(raw, []byte(`"key":"b"`)) {
		t.Fatalf("the file has %q (%v), want the line that the write came after", raw, err)
	}
	has(t, openAt(t, copied(t, path), "boot"), "a=2")
}

// TestATornLine: what is whole before it counts, and what is kept after it.
func TestATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openAt(t, path, "boot")
	keep(t, j, "a=1")
	whole, err := os.ReadFile(path + ".recent")
	if err != nil {
		t.Fatal(err)
	}
	keep(t, j, "b=1")
	all, err := os.ReadFile(path + ".recent")
	if err != nil {
		t.Fatal(err)
	}
	for end := len(whole); end < len(all); end++ {
		for _, tail := range []string{"", "\n", "\x00\x00"} {
			torn := copied(t, path)
			if err := os.WriteFile(torn+".recent", append(bytes.Clone(all[:end]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			if end == len(all)-1 && tail == "\n" {
				continue // whole
			}
			j := openAt(t, torn, "boot")
			has(t, j, "a=1")
			keep(t, j, "c=1")
			has(t, openAt(t, copied(t, torn), "boot"), "a=1", "c=1")
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if end%16 != 0 {
				break // a few are enough for every tail
			}
		}
	}
}

// TestAnOlderGvlanWrote: it knows nothing of what was kept, which is older then.
func TestAnOlderGvlanWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openAt(t, path, "boot")
	write(t, j, "a=1")
	keep(t, j, "a=2", "b=2")
	dead := copied(t, path)
	db, err := bolt.Open(dead, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte("a"), []byte("3")) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	j = openAt(t, dead, "boot")
	has(t, j, "a=3")
	keep(t, j, "c=4")
	has(t, openAt(t, copied(t, dead), "boot"), "a=3", "c=4")
}

// TestRecentChangesAreBounded: a write becomes due, after which the file begins
// anew, with what came while it was written.
func TestRecentChangesAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openAt(t, path, "boot")
	big := strings.Repeat("x", 50_000)
	due := false
	var err error
	for i := 0; !due && err == nil && i < 100; i++ {
		due, err = j.Keep(values("k" + strconv.Itoa(i%3) + "=" + big))
	}
	if !due || err != nil {
		t.Fatalf("due %v, %v", due, err)
	}
	write(t, j)
	keep(t, j, "a=1")
	if info, err := os.Stat(path + ".recent"); err != nil || info.Size() > 1000 {
		t.Errorf("the file has %d bytes (%v) after a write", info.Size(), err)
	}
	has(t, openAt(t, copied(t, path), "boot"), "k0="+big, "k1="+big, "k2="+big, "a=1")
	for i := 0; err == nil && i < 1000; i++ {
		_, err = j.Keep(values("k" + strconv.Itoa(i%3) + "=" + big))
	}
	if !errors.Is(err, disk.ErrRecentFull) {
		t.Errorf("%v, want ErrRecentFull where no write ever comes", err)
	}
	if info, err := os.Stat(path + ".recent"); err != nil || info.Size() > 5<<20 {
		t.Errorf("the file has %d bytes (%v)", info.Size(), err)
	}
	_, _ = j.Keep(values("last=1"))
	write(t, j)
	has(t, openAt(t, copied(t, path), "next boot"), "k0="+big, "k1="+big, "k2="+big, "a=1", "last=1")
}

// TestADamagedJournalTakesItsRecentChangesAlong: they are none of the next's.
func TestADamagedJournalTakesItsRecentChangesAlong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openAt(t, path, "boot")
	keep(t, j, "a=1")
	aside, err := disk.SetAside(path, time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(aside + ".recent"); err != nil {
		t.Error(err)
	}
	has(t, openAt(t, path, "boot"))
}

// TestABucketKeeps what it is given without a sync, and reads it with what is on
// disk.
func TestABucketKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openAt(t, path, "boot")
	b := j.Bucket("words")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.PutAll(map[string][]byte{"a": []byte("1"), "gone": []byte("1"), "c": []byte("1")}))
	must(b.Keep(map[string][]byte{"b": []byte("2"), "gone": nil, "c": []byte("2")}))
	must(j.Bucket("other").Keep(map[string][]byte{"d": []byte("3")}))
	for _, of := range []*disk.Bucket{b, openAt(t, copied(t, path), "boot").Bucket("words")} {
		var got []string
		must(of.Each(func(key string, value []byte) error {
			got = append(got, key+"="+string(value))
			return nil
		}))
		if diff := cmp.Diff([]string{"a=1", "b=2", "c=2"}, got); diff != "" {
			t.Errorf("the bucket holds (-want +got):\n%s", diff)
		}
		if value, err := of.Get("c"); err != nil || string(value) != "2" {
			t.Errorf("c is %q, %v", value, err)
		}
		if value, err := of.Get("gone"); !errors.Is(err, disk.ErrAbsent) {
			t.Errorf("gone is %q, %v", value, err)
		}
	}
}
