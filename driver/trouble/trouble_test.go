package trouble_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gvlan/driver/trouble"
)

func TestBook(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var logged bytes.Buffer
	b := trouble.NewBook(func() time.Time { return now }, slog.New(slog.NewTextHandler(&logged, nil)))
	about, other := trouble.Matter{What: "replica", Of: "u1"}, trouble.Matter{What: "names"}
	first, second := errors.New("the engine is away"), errors.New("the name is taken")

	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		b.Tell(about, first)
		now = now.Add(wait*time.Second - time.Millisecond)
		if !b.Waiting(about) {
			t.Fatalf("it is due before %d s", wait)
		}
		now = now.Add(time.Millisecond)
		if b.Waiting(about) {
			t.Fatalf("it is not due after %d s", wait)
		}
	}
	b.Tell(about, second)
	b.Tell(other, first)
	if got := strings.Count(logged.String(), "\n"); got != 3 {
		t.Errorf("%d lines, want one for each failure that was new:\n%s", got, logged.String())
	}
	if got := b.List()[about].Why; got != second.Error() || b.Waiting(trouble.Matter{What: "replica", Of: "u2"}) {
		t.Errorf("what fails is %q", got)
	}
	b.Only(func(id string) bool { return id != "u1" })
	if _, kept := b.List()[about]; kept || !b.Any() {
		t.Errorf("it keeps %v, want what is of no network", b.List())
	}
	now = now.Add(90 * time.Second)
	logged.Reset()
	b.Over(other)
	b.Over(other)
	if b.Any() {
		t.Errorf("it keeps %v", b.List())
	}
	if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="works again" what=names lasted=1m30s`) {
		t.Errorf("logged when it was over: %q, want one line that says how long it lasted", got)
	}
}

// TestSettle: a failure that is nobody's here, or of an agent that ends, is
// neither told nor over.
func TestSettle(t *testing.T) {
	about, away, broken := trouble.Matter{What: "names"}, errors.New("the engine is away"), errors.New("no such name")
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tt := range []struct {
		name      string
		ctx       context.Context
		err       error
		elsewhere []error
		before    error // that was told
		want      string
	}{
		{name: "went well", ctx: t.Context()},
		{name: "goes well again", ctx: t.Context(), before: broken},
		{name: "goes well at the end", ctx: ended, before: broken},
		{name: "fails", ctx: t.Context(), err: broken, elsewhere: []error{away}, want: "no such name"},
		{name: "fails otherwise", ctx: t.Context(), err: away, before: broken, want: "the engine is away"},
		{name: "fails at the end", ctx: ended, err: broken},
		{name: "told elsewhere", ctx: t.Context(), err: fmt.Errorf("ask: %w", away), elsewhere: []error{broken, away}, before: nil},
		{name: "told elsewhere, and who knows", ctx: t.Context(), err: fmt.Errorf("ask: %w", away), elsewhere: []error{away}, before: broken, want: "no such name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := trouble.NewBook(time.Now, slog.New(slog.DiscardHandler))
			if tt.before != nil {
				b.Tell(about, tt.before)
			}
			b.Settle(tt.ctx, about, tt.err, tt.elsewhere...)
			if got := b.List()[about].Why; got != tt.want {
				t.Errorf("it fails with %q, want %q", got, tt.want)
			}
		})
	}
}

// TestBookSaysAFewSentences: what fails in turns in two ways, or says something
// else each time, does not fill the log.
func TestBookSaysAFewSentences(t *testing.T) {
	var logged bytes.Buffer
	b := trouble.NewBook(time.Now, slog.New(slog.NewTextHandler(&logged, nil)))
	about := trouble.Matter{What: "names"}
	for range 10 {
		b.Tell(about, errors.New("the engine is away"))
		b.Tell(about, errors.New("the disk is full"))
	}
	if got := strings.Count(logged.String(), "\n"); got != 2 {
		t.Errorf("%d lines for two sentences", got)
	}
	for i := range 50 {
		b.Tell(about, fmt.Errorf("port %d is taken", i))
	}
	if got := strings.Count(logged.String(), "\n"); got != 5 {
		t.Errorf("%d lines of one failure, want 5", got)
	}
}

func TestFindings(t *testing.T) {
	now, logged := time.Unix(1_800_000_000, 0), bytes.Buffer{}
	plain := slog.NewTextHandler(&logged, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	var f trouble.Findings
	for _, look := range []struct{ found, says string }{
		{"a b", "level=WARN msg=a\nlevel=WARN msg=b\n"},
		{"b c", "level=WARN msg=c\nlevel=INFO msg=over what=a lasted=1m0s\n"},
		{"b c", ""},
		{"", "level=INFO msg=over what=b lasted=3m0s\nlevel=INFO msg=over what=c lasted=2m0s\n"},
		{"c", "level=WARN msg=c\n"},
	} {
		logged.Reset()
		f.Replace(strings.Fields(look.found), now, slog.New(plain), slog.LevelWarn)
		if got := logged.String(); got != look.says {
			t.Errorf("logged of %q: %q, want %q", look.found, got, look.says)
		}
		if got := strings.Join(f.List(), " "); got != look.found {
			t.Errorf("it lists %q, want %q", got, look.found)
		}
		now = now.Add(time.Minute)
	}
}
