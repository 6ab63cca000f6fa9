//go:build !race

package care_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/care"
)

// played runs a caretaker on a fake cluster in virtual time.
func played(t *testing.T, play func(t *testing.T, f *fake, c *care.Caretaker, leads *bool, log func() string)) {
	synctest.Test(t, func(t *testing.T) {
		f, leads := &fake{all: three()}, true
		log, text := quiet()
		c := care.New(care.Config{Cluster: f, Leads: func() bool { return leads }, Now: time.Now, Log: log})
		stop := run(c)
		play(t, f, c, &leads, func() string { synctest.Wait(); return text.String() })
		stop()
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestOneMemberAtATime(t *testing.T) {
	played(t, func(t *testing.T, f *fake, _ *care.Caretaker, leads *bool, _ func() string) {
		*leads = false
		pass(10 * time.Minute)
		diff(t, "elsewhere", f)
		*leads = true
		pass(31 * time.Second)
		diff(t, "first", f, "defragment b")
		f.set(func() { f.all[1].Answers = false }) // busy
		pass(5 * time.Minute)
		diff(t, "while it does not answer", f, "defragment b")
		f.set(func() { f.all[1].Answers = true })
		pass(2 * time.Minute)
		diff(t, "all", f, "defragment b", "defragment c", "defragment a")
	})
}

// What a member does not give back is not asked for at each look.
func TestMembersRest(t *testing.T) {
	played(t, func(t *testing.T, f *fake, _ *care.Caretaker, _ *bool, _ func() string) {
		f.set(func() { f.stays = true; f.all = f.all[:1] })
		pass(59 * time.Minute)
		diff(t, "an hour", f, "defragment a")
		pass(2 * time.Minute)
		diff(t, "after it", f, "defragment a", "defragment a")
	})
}

func TestQuotaThatIsUsedUp(t *testing.T) {
	cure := []string{"compact 7", "defragment b", "defragment a"}
	played(t, func(t *testing.T, f *fake, c *care.Caretaker, _ *bool, log func() string) {
		f.set(func() {
			f.full, f.stays = true, true
			f.all[2].Answers = false // holds nothing up
			for i := range f.all {
				f.all[i].Size, f.all[i].InUse = 2000*mega, 1900*mega
			}
		})
		pass(5 * time.Minute)
		diff(t, "first", f, cure...)
		if !strings.Contains(log(), "what is in it now") || !c.Last().NoSpace {
			t.Errorf("nobody is told: %s", log())
		}
		pass(6 * time.Minute)
		diff(t, "ten minutes later", f, append(cure, cure...)...)
		f.set(func() {
			f.did, f.stays = nil, false
			for i := range f.all {
				f.all[i].InUse = 100 * mega
			}
		})
		pass(11 * time.Minute)
		diff(t, "with room", f, append(cure, "disarm")...)
		if c.Last().NoSpace {
			t.Error("it is used up still")
		}
	})
}

func TestSilenceIsToldOnce(t *testing.T) {
	played(t, func(t *testing.T, f *fake, c *care.Caretaker, _ *bool, log func() string) {
		f.set(func() { f.all[1].Answers = false })
		pass(5 * time.Minute)
		if got := c.Last().Warnings(func(node string) string { return node }); len(got) != 1 {
			t.Errorf("warnings %q, want one of b", got)
		}
		f.set(func() { f.silent = store.ErrUnavailable })
		pass(5 * time.Minute)
		if got := c.Last().Warnings(func(node string) string { return node }); len(got) != 0 || log() != "" {
			t.Errorf("a store that is away, which is told elsewhere: %q, log %s", got, log())
		}
		if got, want := c.Looks(), (care.Looks{Done: 10, Failed: 10}); got != want { // every half minute
			t.Errorf("looked %+v, want %+v", got, want)
		}
	})
}
