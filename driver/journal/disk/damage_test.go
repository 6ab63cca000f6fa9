package disk_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/journal/disk"
)

// records reports whether a value can be one of the tests' buckets.
func records(_ string, value []byte) bool { return json.Valid(value) }

// used writes a journal as a busy host has it, of many pages, some of them
// free, and returns what is in it.
func used(t *testing.T, path string) map[string]string {
	t.Helper()
	j := open(t, path)
	b := j.Bucket("endpoints")
	for i := range 300 {
		if err := b.Put(fmt.Sprint("key", i), fmt.Appendf(nil, `{"n":%d,"fill":%q}`, i, strings.Repeat("x", i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if err := b.Delete(fmt.Sprint("key", i)); err != nil {
			t.Fatal(err)
		}
	}
	kept := content(t, b)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return kept
}

// Whatever page of the file was overwritten, and with what: the journal says
// that it is damaged, or it lost nothing. It never panics, now or at the next
// write.
func TestEveryDamagedPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	kept := used(t, path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	random := rand.NewChaCha8([32]byte{1})
	damaged := 0
	for at := 0; at < len(whole); at += page {
		for name, fill := range map[string]func([]byte){
			"zeroed":  func(p []byte) { clear(p) },
			"ones":    func(p []byte) { copy(p, bytes.Repeat([]byte{0xff}, len(p))) },
			"garbage": func(p []byte) { _, _ = random.Read(p) },
			"cut":     func(p []byte) { clear(p[len(p)/8:]) },
			"flipped": func(p []byte) { p[24] ^= 0x40 },
			"other":   func(p []byte) { copy(p, whole[(at+3*page)%len(whole):][:len(p)]) },
		} {
			broken := bytes.Clone(whole)
			fill(broken[at : at+page])
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := disk.Open(path, "boot", records)
			if errors.Is(err, disk.ErrDamaged) {
				damaged++
				continue
			}
			if err != nil {
				t.Fatalf("page %d %s: %v, want ErrDamaged", at/page, name, err)
			}
			if err := j.Bucket("endpoints").Put("new", []byte("{}")); err != nil {
				t.Errorf("page %d %s: %v", at/page, name, err)
			}
			now := content(t, j.Bucket("endpoints"))
			delete(now, "new")
			if len(now) < len(kept)-1 || at > 2*page && !cmp.Equal(now, kept) { // a meta page more or less is one write
				t.Errorf("page %d %s: opened with %d records of %d", at/page, name, len(now), len(kept))
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if damaged < len(whole)/page {
		t.Errorf("%d damages of %d pages were noticed", damaged, len(whole)/page)
	}
}

// The planted faults by name, and what becomes of the file.
func TestDamagedJournalIsSetAside(t *testing.T) {
	page := os.Getpagesize()
	for name, damage := range map[string]func(*testing.T, []byte) []byte{
		"both meta pages": func(_ *testing.T, raw []byte) []byte { clear(raw[:2*page]); return raw },
		"list of free pages": func(t *testing.T, raw []byte) []byte {
			clear(freelist(t, raw)[:page])
			return raw
		},
		"list of free pages names a used one": func(t *testing.T, raw []byte) []byte {
			list := freelist(t, raw)
			binary.LittleEndian.PutUint64(list[16:], root(t, raw)) // its first entry
			return raw
		},
		"cut to half":   func(_ *testing.T, raw []byte) []byte { return raw[:len(raw)/page/2*page] },
		"cut to a page": func(_ *testing.T, raw []byte) []byte { return raw[:page] },
		"cut to a line": func(_ *testing.T, raw []byte) []byte { return raw[:80] },
		"another file":  func(_ *testing.T, raw []byte) []byte { return []byte(strings.Repeat("no journal\n", 1000)) },
		"a record": func(_ *testing.T, raw []byte) []byte {
			return bytes.ReplaceAll(raw, []byte(`{"n":250`), []byte(`}"n":250`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			used(t, path)
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			raw = damage(t, raw)
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if j, err := disk.Open(path, "boot", records); !errors.Is(err, disk.ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Fatalf("Open: %v, %v, want ErrDamaged and the path", j, err)
			}
			aside, err := disk.SetAside(path, time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
			if err != nil {
				t.Fatal(err)
			}
			if now, err := os.ReadFile(aside); err != nil || !bytes.Equal(now, raw) {
				t.Errorf("the file set aside as %s is not the damaged one (%v)", aside, err)
			}
			j, err := disk.Open(path, "boot", records)
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			if err := j.Bucket("endpoints").Put("new", []byte("{}")); err != nil {
				t.Error(err)
			}
		})
	}
}

// meta is the younger meta page's content, past the page's header.
func meta(t *testing.T, raw []byte) []byte {
	t.Helper()
	const header, txid = 16, 48
	one, two := raw[header:], raw[os.Getpagesize()+header:]
	if binary.LittleEndian.Uint64(one[txid:]) > binary.LittleEndian.Uint64(two[txid:]) {
		return one
	}
	return two
}

// freelist is the file from the list of free pages on, root the page of the
// topmost bucket.
func freelist(t *testing.T, raw []byte) []byte {
	t.Helper()
	return raw[int(binary.LittleEndian.Uint64(meta(t, raw)[32:]))*os.Getpagesize():]
}

func root(t *testing.T, raw []byte) uint64 {
	t.Helper()
	return binary.LittleEndian.Uint64(meta(t, raw)[16:])
}
