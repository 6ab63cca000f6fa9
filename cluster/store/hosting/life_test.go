package hosting_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/hosting"
)

// within is ctx for one request.
func (h *host) within() context.Context {
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Second)
	h.t.Cleanup(cancel)
	return ctx
}

// silence waits until the store does not answer.
func (h *host) silence() {
	h.t.Helper()
	h.eventually("the store is silent", func() error {
		if _, err := h.session.Get(h.within(), store.MetaKey()); !errors.Is(err, store.ErrUnavailable) {
			return errors.Join(errors.New("it answers"), err)
		}
		return nil
	})
}

// goesOn has the host begin another life of the store with its copy.
func (h *host) goesOn() hosting.Loss {
	h.t.Helper()
	loss, err := h.store.Recover(h.t.Context(), h.session)
	if err != nil {
		h.t.Fatal(err)
	}
	h.restart()
	return loss
}

// inLife waits until the store answers the host, and says that it is in that life.
func (h *host) inLife(number int64) store.Life {
	h.t.Helper()
	h.eventually(h.config.Node+" is in another life", func() error {
		if life := h.store.Life(); life.Number != number {
			return errors.New("the store says nothing of it")
		}
		_, err := h.session.Get(h.within(), store.MetaKey())
		return err
	})
	return h.store.Life()
}

// stoodDown waits until the host's old data is out of the way.
func (h *host) stoodDown() {
	h.t.Helper()
	h.eventually(h.config.Node+" stands down", func() error {
		_, err := os.Stat(filepath.Join(h.config.Dir, "etcd.old", "member"))
		return err
	})
}

// give commits what is given only while the store is trusted.
func (h *host) give(key string) error {
	res, err := h.session.Commit(h.within(), store.Txn{If: []store.Cond{store.Absent(key)}, Then: []store.Op{store.Put(key, []byte(`{}`))}, Gives: true})
	if err == nil && !res.Done {
		err = errors.New("it is given already")
	}
	return err
}

// gives is give that succeeds.
func (h *host) gives(key string) {
	h.t.Helper()
	h.eventually(h.config.Node+" gives "+key, func() error { return h.give(key) })
}

// passing puts a key that goes in an hour.
func (h *host) passing(key string) {
	h.t.Helper()
	lease, err := h.session.Grant(h.within(), 3600)
	if err == nil {
		_, err = h.session.Commit(h.within(), store.Txn{Then: []store.Op{{Kind: store.OpPut, Key: key, Value: []byte(`{}`), Lease: lease}}})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// gate waits until the host sees the gate closed.
func (h *host) gate() {
	h.t.Helper()
	h.eventually(h.config.Node+" sees the gate closed", func() error {
		if err := h.session.Trusted(); !errors.Is(err, store.ErrSuspect) {
			return errors.Join(errors.New("it trusts the store"), err)
		}
		if h.session.Round() == "" {
			return errors.New("the gate is open")
		}
		return nil
	})
}

// recoverOn is `gvlan recover`, with the agents' part in it.
func recoverOn(hosts ...*host) {
	t := hosts[0].t
	t.Helper()
	for _, h := range hosts {
		h.gate()
		h.eventually("its records are back", func() error { return h.session.Reasserted(h.within(), h.session.Round()) })
	}
	hosts[0].eventually("the gate is open", func() error { return hosts[0].session.OpenGate(hosts[0].within()) })
	for _, h := range hosts {
		h.eventually(h.config.Node+" trusts again", func() error {
			if h.session.Recovered() {
				return h.session.Accept(h.within())
			}
			return h.session.Trusted()
		})
	}
}

// Two of three die for good. The third goes on with its copy; nothing is given
// before everybody has written again what it holds. The two come back with what
// they had: their old quorum does not, and in the end there are three again.
func TestTwoOfThreeDie(t *testing.T) {
	t.Parallel()
	h1 := begin(t, "h1")
	h2, h3 := joinTo(t, "h2", h1), joinTo(t, "h3", h1)
	h1.roles("h1 voter, h2 voter, h3 voter")
	h1.gives("/test/before")
	h1.passing("/test/passing")
	if _, err := h1.store.Recover(t.Context(), h1.session); !errors.Is(err, hosting.ErrAnswers) {
		t.Errorf("Recover of a store that answers: %v, want ErrAnswers", err)
	}
	h2.end()
	h3.end()
	h1.silence()
	if loss := h1.goesOn(); loss.Life.Number != 1 || time.Since(loss.Heard) > time.Minute {
		t.Errorf("loss %+v", loss)
	}
	if life := h1.inLife(1); life.From < 10 || life.From > 1e6 || life.Node != "h1" {
		t.Errorf("life %+v", life)
	}
	if _, err := h1.session.Get(h1.within(), "/test/before"); err != nil {
		t.Errorf("what was given before: %v", err)
	}
	if _, err := h1.session.Get(h1.within(), "/test/passing"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what passes by itself unless somebody keeps it: %v, want it gone: who kept it may be dead for hours", err)
	}
	h1.gate()
	if err := h1.give("/test/early"); !errors.Is(err, store.ErrSuspect) {
		t.Errorf("given at once: %v, want ErrSuspect", err)
	}
	h2.start()
	h3.start()
	for _, h := range []*host{h2, h3} {
		h.stoodDown()
		h.inLife(1)
	}
	recoverOn(h1, h2, h3)
	h1.roles("h1 voter, h2 voter, h3 voter")
	for _, h := range []*host{h1, h2, h3} {
		h.gives("/test/after-" + h.config.Node)
	}
	for _, h := range []*host{h1, h2, h3} {
		h.end()
	}
}

// One of two dies, and the learner goes on. The voter, which is a quorum by itself,
// comes back, and asks before it starts.
func TestLearnerGoesOn(t *testing.T) {
	t.Parallel()
	h1 := begin(t, "h1")
	h2 := joinTo(t, "h2", h1)
	h1.roles("h1 voter, h2 learner")
	h1.gives("/test/before")
	time.Sleep(time.Second) // a copy lags
	h1.end()
	h2.silence()
	h2.goesOn()
	h2.inLife(1)
	if _, err := h2.session.Get(h2.within(), "/test/before"); err != nil {
		t.Errorf("what was given before: %v", err)
	}
	h1.start()
	h1.stoodDown()
	h1.inLife(1)
	recoverOn(h2, h1)
	h2.roles("h1 learner, h2 voter")
	h1.end()
	h2.end()
}

// The host that went on is off when the old quorum comes back, which nobody can
// tell it then. Once they meet, the older life ends.
func TestOldLifeComesBack(t *testing.T) {
	t.Parallel()
	h1 := begin(t, "h1")
	h2 := joinTo(t, "h2", h1)
	h1.roles("h1 voter, h2 learner")
	time.Sleep(time.Second)
	h1.end()
	h2.silence()
	h2.goesOn()
	h2.inLife(1)
	h2.end()
	h1.start()
	h1.waitTrusted()
	h1.gives("/test/in-vain")
	h1.eventually("it asks nobody any more", func() error {
		raw, err := os.ReadFile(filepath.Join(h1.config.Dir, "store.json"))
		if err == nil && strings.Contains(string(raw), `"heard"`) {
			err = errors.New("it takes the store for silent")
		}
		return err
	})
	time.Sleep(11 * time.Second)
	h2.start()
	h1.stoodDown()
	h1.inLife(1)
	recoverOn(h2, h1)
	if _, err := h1.session.Get(h1.within(), "/test/in-vain"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what the older life gave: %v", err)
	}
	h2.roles("h1 learner, h2 voter")
	h1.end()
	h2.end()
}

// copied takes a copy of the store, as a backup does, to where Restore wants it.
func (h *host) copied(into *host) string {
	h.t.Helper()
	path := filepath.Join(into.config.Dir, "restore.db")
	file, err := os.Create(path)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := errors.Join(h.store.Snapshot(h.t.Context(), h.client, file), file.Close()); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// restores has the host begin another life of the store with a copy.
func (h *host) restores(path string, life int64) {
	h.t.Helper()
	if _, err := h.store.Restore(path, "it was restored"); err != nil {
		h.t.Fatal(err)
	}
	h.restart()
	h.inLife(life)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		h.t.Errorf("the copy is still there: %v", err)
	}
}

// A member's host restores a copy while the others run on: they follow, and what was
// given since the copy is given to nobody before its holder has said so.
func TestRestore(t *testing.T) {
	t.Parallel()
	h1 := begin(t, "h1")
	h2 := joinTo(t, "h2", h1)
	h1.roles("h1 voter, h2 learner")
	h1.gives("/test/before")
	path := h1.copied(h1)
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h2.gives("/test/since")
	h1.restores(path, 1)
	for _, h := range []*host{h1, h2} {
		h.inLife(1)
		h.gate()
		if err := h.give("/test/since"); !errors.Is(err, store.ErrSuspect) {
			t.Errorf("%s gives at once what the copy does not know: %v, want ErrSuspect", h.config.Node, err)
		}
	}
	h2.stoodDown()
	h2.writes("since") // h2 holds it, and writes it again
	recoverOn(h1, h2)
	if err := h1.give("/test/since"); err == nil {
		t.Error("what h2 holds was given again")
	}
	h1.gives("/test/after")
	h1.roles("h1 voter, h2 learner")

	// The same copy once more, of two lives before.
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	h1.restores(path, 2)
	h2.inLife(2)
	recoverOn(h1, h2)
	h1.roles("h1 voter, h2 learner")
	if life := h2.inLife(2); life.From > 1e6 {
		t.Errorf("life %+v, want the copy's own revision", life)
	}
	h1.end()
	h2.end()
}

// A host that was of no cluster restores the copy of one that is lost whole.
func TestRestoreElsewhere(t *testing.T) {
	t.Parallel()
	h1 := begin(t, "h1")
	h1.gives("/test/before")
	lost := h1.token()
	h4 := newHost(t, "h4")
	h4.start()
	h4.waitTrusted()
	path := h1.copied(h4)
	h1.end()
	h4.restores(path, 1)
	if _, err := h4.session.Get(h4.within(), "/test/before"); err != nil {
		t.Errorf("what was given before: %v", err)
	}
	h4.gate()
	recoverOn(h4)
	h4.roles("h4 voter")
	if h4.token() == lost {
		t.Error("the token is that of the cluster that was lost")
	}
	h2 := newHost(t, "h2")
	h2.start()
	h2.waitTrusted()
	if err := h2.store.Join(t.Context(), h4.store.Base(), h4.token(), nil); err != nil {
		t.Fatal(err)
	}
	h2.restart()
	h2.waitTrusted()
	h2.end()
	h4.end()
}
