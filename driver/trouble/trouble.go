// Package trouble keeps what goes wrong on this host until it is over: failures
// of what is tried again (Book), and sentences about what was found wrong and no
// error tells anybody (Findings). Either is logged when it is new and when it is
// over, and listed for people as long as it lasts.
package trouble

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Bounds of the wait that Waiting tells of; it doubles in between.
const (
	FirstRetry = time.Second
	lastRetry  = time.Minute
)

// Matter is what a failure is filed under.
type Matter struct {
	What string // it is that fails, for the log
	Of   string // a definition's uuid or a network's engine id; "" when it is of neither
	Then string // what is so meanwhile, for people; "" where What or the error says it
}

// Fails is a sentence for people: that it fails, why, and what is so meanwhile.
func (m Matter) Fails(why string) string {
	said := m.What + " fails, and is tried again: " + why
	if m.Then != "" {
		said += "; until then " + m.Then
	}
	return said
}

// Failure is one thing that keeps failing.
type Failure struct {
	Why   string    // it failed last, a sentence
	Since time.Time // it fails
	err   error     // Why
	said  []string  // the sentences that were logged
	wait  time.Duration
	due   time.Time
}

// sentences is how many of one failure are logged: it may say something else
// each time, an address or a time, and yet be the same.
const sentences = 5

// Book remembers what fails, so that it is logged once, and once more when it
// works again, and tried again with growing patience by those who ask Waiting.
type Book struct {
	mu  sync.Mutex
	all map[Matter]Failure
	now func() time.Time
	log *slog.Logger
}

// NewBook is a book without a failure.
func NewBook(now func() time.Time, log *slog.Logger) *Book {
	return &Book{all: map[Matter]Failure{}, now: now, log: log}
}

// Tell notes a failure; it is logged when it is new, as is each of a few
// sentences that it says.
func (b *Book) Tell(about Matter, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	had := b.all[about]
	now := b.now()
	next := Failure{Why: err.Error(), err: err, Since: had.Since, said: had.said, wait: min(max(2*had.wait, FirstRetry), lastRetry)}
	next.due = now.Add(next.wait)
	if had.Why == "" {
		next.Since = now
	}
	if len(next.said) < sentences && !slices.Contains(next.said, next.Why) {
		next.said = append(next.said, next.Why)
		b.log.Error("failed, and is tried again", "what", about.What, "err", err)
	}
	b.all[about] = next
}

// Over forgets a failure, and logs how long it lasted.
func (b *Book) Over(about Matter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if had, failed := b.all[about]; failed {
		b.log.Info("works again", "what", about.What, "lasted", b.now().Sub(had.Since).Round(time.Second))
	}
	delete(b.all, about)
}

// Settle ends a try: what it was about is over where it went well, and told of
// where not. Nothing is said of a try that failed because ctx ended, nor of a
// failure that wraps one of those that somebody else tells of.
func (b *Book) Settle(ctx context.Context, about Matter, err error, elsewhere ...error) {
	switch {
	case err == nil:
		b.Over(about)
	case ctx.Err() != nil || slices.ContainsFunc(elsewhere, func(other error) bool { return errors.Is(err, other) }):
	default:
		b.Tell(about, err)
	}
}

// Only forgets the failures of definitions and networks that are no more.
func (b *Book) Only(known func(id string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.all, func(about Matter, _ Failure) bool { return about.Of != "" && !known(about.Of) })
}

// Waiting reports whether a failure is not due to be tried again yet. What is
// tried in rounds of its own need not ask.
func (b *Book) Waiting(about Matter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	had, ok := b.all[about]
	return ok && b.now().Before(had.due)
}

// Any reports whether something fails.
func (b *Book) Any() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.all) > 0
}

// List copies what fails, for people.
func (b *Book) List() map[Matter]Failure {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.all)
}

// lasting is how long something fails before people are told: what the next round
// or two mend is no news.
const lasting = 30 * time.Second

// Lasting are sentences about what has failed for a while: of which network, what,
// why, and what is so meanwhile. Titled says what people call a network, by what a
// matter is of, and there is false of one that is no more, or whose failures others
// tell of; told reports an error that others tell of.
func (b *Book) Lasting(titled func(of string) (title string, there bool), told func(error) bool) (all []string) {
	now := b.now()
	for about, failed := range b.List() {
		network := ""
		if about.Of != "" {
			title, there := titled(about.Of)
			if !there {
				continue
			}
			network = "network " + title + ": "
		}
		if now.Sub(failed.Since) < lasting || told(failed.err) {
			continue
		}
		all = append(all, network+about.Fails(failed.Why))
	}
	slices.Sort(all)
	return all
}

// Findings are sentences that were found true at the last look. Each is logged
// when it is new, and once more when it is true no more.
type Findings struct {
	mu  sync.Mutex
	all []finding
}

type finding struct {
	said  string
	since time.Time
}

// Replace takes the sentences of a look that was taken now, and logs, at that
// level, those that are new.
func (f *Findings) Replace(found []string, now time.Time, log *slog.Logger, level slog.Level) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []finding
	for _, said := range found {
		had := slices.IndexFunc(f.all, func(o finding) bool { return o.said == said })
		if had >= 0 {
			all = append(all, f.all[had])
			continue
		}
		all = append(all, finding{said, now})
		log.Log(context.Background(), level, said)
	}
	for _, had := range f.all {
		if !slices.Contains(found, had.said) {
			log.Info("over", "what", had.said, "lasted", now.Sub(had.since).Round(time.Second))
		}
	}
	f.all = all
}

// List copies the sentences.
func (f *Findings) List() (said []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.all {
		said = append(said, one.said)
	}
	return said
}
