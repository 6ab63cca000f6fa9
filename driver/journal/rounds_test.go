package journal_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gvlan/driver/journal"
	"gvlan/driver/journal/disk"
)

// gate is a file whose writes wait until they are let through.
type gate struct {
	journal.File
	begun   chan struct{}
	through chan error
}

func newGate(file journal.File) *gate {
	return &gate{File: file, begun: make(chan struct{}), through: make(chan error)}
}

func (g *gate) Write(values map[journal.Key][]byte) error {
	g.begun <- struct{}{}
	if err := <-g.through; err != nil {
		return err
	}
	return g.File.Write(values)
}

// let lets the next write through, or has it fail.
func (g *gate) let(err error) {
	<-g.begun
	g.through <- err
}

func since(m *journal.Memory, network string) int64 {
	n, _ := m.Network(network)
	return n.Since
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// add puts another number to a network's.
func add(m *journal.Memory, id string, more int64) func(*journal.Change) {
	return func(c *journal.Change) {
		n, _ := m.Network(id)
		n.ID, n.Since = id, n.Since+more
		c.Put(n)
	}
}

func addChange(id string, more int64) func(*journal.Change) error {
	return func(c *journal.Change) error {
		n, _ := c.Network(id)
		n.ID, n.Since = id, n.Since+more
		c.Put(n)
		return nil
	}
}

// TestNobodyWaitsForAnothersSync: while the disk is busy everything can be read
// and known, and all who want the disk wait for one write together.
func TestNobodyWaitsForAnothersSync(t *testing.T) {
	g := newGate(newDisk(t))
	m := recall(t, g)
	const others = 64
	var work sync.WaitGroup
	failed := make(chan error, 2*others+2)
	work.Go(func() { failed <- m.Change(addChange("changed", 1)) })
	<-g.begun
	if err := m.KnownPut(journal.Network{ID: "known", Since: 1}); err != nil || since(m, "known") != 1 {
		t.Errorf("%v, known since %d", err, since(m, "known"))
	}
	if _, seen := m.Network("changed"); seen {
		t.Error("a change is seen before it is on disk")
	}
	for i := range others {
		work.Go(func() { failed <- m.NotePut(journal.Network{ID: fmt.Sprint("noted", i)}) })
	}
	decided := make(chan struct{}, others)
	for range others {
		work.Go(func() {
			failed <- m.Change(func(c *journal.Change) error {
				defer func() { decided <- struct{}{} }()
				return addChange("changed", 1)(c)
			})
		})
	}
	for range others {
		<-decided
	}
	eventually(t, "all notes are seen", func() bool { return len(m.Networks()) == others+1 })
	work.Go(func() { failed <- m.Known(add(m, "changed", 1000)) }) // waits for the changes
	g.through <- nil
	g.let(nil)
	work.Wait() // a third write would block
	close(failed)
	for err := range failed {
		if err != nil {
			t.Error(err)
		}
	}
	if got := since(m, "changed"); got != 1000+1+others {
		t.Errorf("the changes add up to %d", got)
	}
}

// TestAFailedRoundTakesAlongWhatWasDecidedUponIt, and nothing else.
func TestAFailedRoundTakesAlongWhatWasDecidedUponIt(t *testing.T) {
	g := newGate(newDisk(t))
	m := recall(t, g)
	var work sync.WaitGroup
	var first, second, noted error
	work.Go(func() { first = m.Put(lan) })
	<-g.begun
	decided := make(chan struct{})
	work.Go(func() {
		second = m.Change(func(c *journal.Change) error {
			defer close(decided)
			if _, there := c.Network(lan.ID); !there {
				t.Error("a change does not see the one before it")
			}
			c.Put(web)
			return nil
		})
	})
	<-decided
	work.Go(func() { noted = m.NotePut(opened) })
	eventually(t, "the note is seen", func() bool { return m.Knew(id.Nonce) })
	g.through <- errFull
	g.let(nil)
	work.Wait()
	if !errors.Is(first, errFull) || !errors.Is(second, errFull) || noted != nil {
		t.Errorf("the change: %v, what was decided upon it: %v, a note: %v", first, second, noted)
	}
	if len(m.Networks())+len(m.Endpoints()) != 0 {
		t.Error("a change that failed is seen")
	}
	go g.let(nil)
	if err := m.Put(web, lan); err != nil {
		t.Error(err)
	}
}

// machine is a host for the model: its disk can be full, its agent killed and its
// power cut.
type machine struct {
	t      *rapid.T
	folder string
	boot   int
	file   *fullable
	m      *journal.Memory
	seen   map[string]int64 // what is true
	synced map[string]int64 // what is on disk
}

func (h *machine) path() string { return filepath.Join(h.folder, "journal.db") }

func (h *machine) start() {
	file, err := disk.Open(h.path(), fmt.Sprint("boot", h.boot), journal.Readable)
	if err != nil {
		h.t.Fatal(err)
	}
	h.file = &fullable{Journal: file}
	if h.m, err = journal.Recall(h.file); err != nil {
		h.t.Fatal(err)
	}
}

// die ends the agent at once: what its end would still write is undone.
func (h *machine) die() {
	left := map[string][]byte{}
	for _, suffix := range []string{"", ".recent"} {
		raw, err := os.ReadFile(h.path() + suffix)
		if err != nil {
			h.t.Fatal(err)
		}
		left[h.path()+suffix] = raw
	}
	if err := h.file.Close(); err != nil {
		h.t.Fatal(err)
	}
	for path, raw := range left {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *machine) check(*rapid.T) {
	got := map[string]int64{}
	for _, n := range h.m.Networks() {
		got[n.ID] = n.Since
	}
	if diff := cmp.Diff(h.seen, got); diff != "" {
		h.t.Fatalf("memory (-want +got):\n%s", diff)
	}
}

// TestJournalModel: after the agent's death everything is as it was, after a power
// cut as at the last thing that had to be on disk; a full disk refuses changes
// and forgets nothing else.
func TestJournalModel(t *testing.T) {
	folder := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		h := &machine{t: t, folder: filepath.Join(folder, fmt.Sprint(runs)), seen: map[string]int64{}, synced: map[string]int64{}}
		h.start()
		defer func() { _ = h.file.Close() }()
		clock := int64(0)
		// some draws what is put and dropped, and what becomes true by it.
		some := func(t *rapid.T) (f func(*journal.Change), after map[string]int64) {
			after = maps.Clone(h.seen)
			clock++
			now := clock
			ids := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 3, rapid.ID).Draw(t, "ids")
			drop := rapid.Bool().Draw(t, "drop")
			for _, id := range ids {
				if after[id] = now; drop {
					delete(after, id)
				}
			}
			return func(c *journal.Change) {
				for _, id := range ids {
					if n := (journal.Network{ID: id, Since: now}); drop {
						c.Drop(n)
					} else {
						c.Put(n)
					}
				}
			}, after
		}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				f, after := some(t)
				err := h.m.Change(func(c *journal.Change) error { f(c); return nil })
				if (err != nil) != h.file.full {
					t.Fatalf("%v with the disk full %v", err, h.file.full)
				}
				if err == nil {
					h.seen, h.synced = after, after
				}
			},
			"note": func(t *rapid.T) {
				f, after := some(t)
				err := h.m.Note(f)
				if (err != nil) != h.file.full {
					t.Fatalf("%v with the disk full %v", err, h.file.full)
				}
				if h.seen = after; err == nil {
					h.synced = after
				}
			},
			"known": func(t *rapid.T) {
				f, after := some(t)
				if err := h.m.Known(f); err != nil {
					t.Fatal(err)
				}
				h.seen = after
			},
			"disk full":     func(*rapid.T) { h.file.full = true },
			"disk not full": func(*rapid.T) { h.file.full = false },
			"kill": func(*rapid.T) {
				h.die()
				h.start()
			},
			"stop": func(*rapid.T) {
				if err := h.file.Close(); err != nil {
					h.t.Fatal(err)
				}
				h.boot++
				h.synced = h.seen
				h.start()
			},
			"power cut": func(*rapid.T) {
				h.die()
				h.boot++
				h.seen = h.synced
				h.start()
			},
			"": h.check,
		})
	})
}

// TestManyAtOnce: changes, notes and what is known of the same records add up,
// here and after the agent's death, whatever the disk refused.
func TestManyAtOnce(t *testing.T) {
	d := newDisk(t)
	flaky := &flaky{File: d}
	m := recall(t, flaky)
	var work sync.WaitGroup
	var mu sync.Mutex
	want := map[string]int64{}
	for worker := range 16 {
		work.Go(func() {
			for i := range 50 {
				id := fmt.Sprint((worker + i) % 3)
				var err error
				switch kind := (worker*7 + i) % 3; kind {
				case 0:
					err = m.Change(addChange(id, 1))
				case 1:
					_ = m.Note(add(m, id, 1)) // seen all the same
				default:
					err = m.Known(add(m, id, 1))
				}
				if err != nil && !errors.Is(err, errFull) {
					t.Error(err)
				}
				mu.Lock()
				if err == nil {
					want[id]++
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	for name, m := range map[string]*journal.Memory{"memory": m, "the file": recall(t, d)} {
		got := map[string]int64{}
		for _, n := range m.Networks() {
			got[n.ID] = n.Since
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if flaky.writes == 0 || flaky.writes >= 16*50 {
		t.Errorf("%d writes for %d calls", flaky.writes, 16*50)
	}
}

// flaky refuses every seventh write. Its writes are one at a time.
type flaky struct {
	journal.File
	writes int
}

func (f *flaky) Write(values map[journal.Key][]byte) error {
	if f.writes++; f.writes%7 == 0 {
		return errFull
	}
	return f.File.Write(values)
}
