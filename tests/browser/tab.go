package browser

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Look is how a tab shows pages.
type Look struct {
	Dark     bool
	Width    int64 // CSS pixels; 0 is 1280
	Height   int64 // 0 is 900
	NoScript bool  // as if its reader had turned scripts off
}

// Phone is a narrow one, in the light.
func Phone() Look { return Look{Width: 360, Height: 740} }

// String names it in tests.
func (l Look) String() string {
	var words []string
	if l.Dark {
		words = append(words, "dark")
	} else {
		words = append(words, "light")
	}
	if l.Width > 0 {
		words = append(words, fmt.Sprint(l.Width, " px"))
	}
	if l.NoScript {
		words = append(words, "no script")
	}
	return strings.Join(words, ", ")
}

// Tab is a tab of the browser.
type Tab struct {
	ctx  context.Context // chromedp's
	stop context.CancelFunc

	mu     sync.Mutex
	faults []string
	asked  []string // URLs
}

// patience is when a browser that does not answer hangs.
const patience = time.Minute

// Open opens a tab that shows nothing yet.
func (b *Browser) Open(look Look) (*Tab, error) {
	t := &Tab{}
	if look.Width == 0 {
		look.Width = 1280
	}
	if look.Height == 0 {
		look.Height = 900
	}
	scheme := "light"
	if look.Dark {
		scheme = "dark"
	}
	// A context of its own: cookies and what else is kept of pages.
	t.ctx, t.stop = chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(t.hear))
	err := chromedp.Do(t.ctx, chromedp.EmulateViewport(look.Width, look.Height), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{})
		if err == nil {
			_, err = cdp.Call(ctx, target, log.Enable, cdp.Empty{})
		}
		if err == nil {
			_, err = cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		}
		if err == nil {
			_, err = cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: look.NoScript})
		}
		return err
	}))
	if err != nil {
		t.stop()
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	return t, nil
}

// Close closes it.
func (t *Tab) Close() { t.stop() }

// hear notes what the page asks for, and what a developer would see in the console.
func (t *Tab) hear(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		t.asked = append(t.asked, e.Request.URL)
	case *network.EventWebSocketCreated:
		t.asked = append(t.asked, e.URL)
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		t.faults = append(t.faults, "exception: "+text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var said []string
			for _, arg := range e.Args {
				said = append(said, string(arg.Value)+arg.Description)
			}
			t.faults = append(t.faults, fmt.Sprintf("console.%s: %s", e.Type, strings.Join(said, " ")))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			t.faults = append(t.faults, fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	}
}

// Faults are what the console has complained of since the last time this was asked.
func (t *Tab) Faults() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	faults := t.faults
	t.faults = nil
	return faults
}

// Strangers are the URLs that were asked for and lie elsewhere than this one.
func (t *Tab) Strangers(home string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.asked), func(asked string) bool {
		return asked == "about:blank" || sameOrigin(asked, home)
	})
}

func sameOrigin(a, b string) bool {
	one, err := url.Parse(a)
	if err != nil {
		return false
	}
	other, err := url.Parse(b)
	return err == nil && one.Scheme == other.Scheme && one.Host == other.Host
}

// Go goes to a page, waits until it is loaded, and gives the status of HTTP.
func (t *Tab) Go(to string) (int, error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	answer, err := chromedp.Run(ctx, chromedp.NavigateResponse(to))
	if err != nil {
		return 0, fmt.Errorf("go to %s: %w", to, err)
	}
	return int(answer.Status), nil
}

// Press presses keys, one after the other: characters, and those of chromedp/kb.
func (t *Tab) Press(keys string) error {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.KeyEvent(keys)); err != nil {
		return fmt.Errorf("press %q: %w", keys, err)
	}
	return nil
}

// Picture is a PNG of what is seen.
func (t *Tab) Picture() ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return nil, fmt.Errorf("take a picture: %w", err)
	}
	return picture, nil
}

// Eval is the value of an expression of JavaScript on the page, awaited.
func Eval[T any](t *Tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		return value, fmt.Errorf("evaluate %s: %w", expression, err)
	}
	return value, nil
}
