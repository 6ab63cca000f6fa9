// Package browser drives a real one, Debian's chromium without a window, so that
// tests see pages as people do; the tests beside it look at the agents' page.
//
//	browser.go  starts it, and says from where it reaches what
//	tab.go      a page in it: what is on it, and what the browser complains of
//	serve.go    an agent's page without gvlan's own ways to it
//	axe.go      whether people who do not see or hold a mouse can use it
package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os/exec"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/sync/errgroup"
)

// Program is Debian's chromium.
const Program = "/usr/bin/chromium"

// Options say how a browser is started.
type Options struct {
	// Dial connects whatever the browser asks for, in place of this computer: a
	// machine of a lab's DialContext puts the browser there. It is given addresses
	// and never names: a name is nowhere.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Folder is where it keeps what it writes; "" is one that goes with it.
	Folder string
	// Env is added to its environment.
	Env []string
	// AnyCertificate has it take each for good, as somebody who compared it did.
	AnyCertificate bool
}

// Browser is a chromium that runs.
type Browser struct {
	ctx   context.Context // chromedp's, of the first tab, which nobody uses
	stop  context.CancelFunc
	proxy *http.Server
	group errgroup.Group
}

// closing is how long a browser may take to end by itself.
const closing = 10 * time.Second

// Start starts one.
func Start(ctx context.Context, o Options) (*Browser, error) {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	door, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a browser: %w", err)
	}
	b := &Browser{proxy: &http.Server{Handler: through(o.Dial)}}
	b.group.Go(func() error { return b.proxy.Serve(door) })
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(Program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Env(o.Env...),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-crash-reporter", true),
		// Loopback addresses are those of where it is said to be, too.
		chromedp.ProxyServer("http://"+door.Addr().String()), chromedp.Flag("proxy-bypass-list", "<-loopback>"),
		// It ends when its pipe is closed. What chromedp does besides would end it
		// with the thread that started it, and a lab's machines end threads.
		chromedp.ModifyCmdFunc(unbound))
	if o.AnyCertificate {
		flags = append(flags, chromedp.IgnoreCertErrors)
	}
	if o.Folder != "" {
		flags = append(flags, chromedp.UserDataDir(o.Folder))
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, flags...)
	b.ctx, _ = chromedp.NewContext(ctx) //nolint:govet // Close cancels it
	b.stop = stop
	if err := chromedp.Do(b.ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a browser: %w", err), b.Close())
	}
	return b, nil
}

// Close ends it and everything it started.
func (b *Browser) Close() error {
	ctx, cancel := context.WithTimeout(b.ctx, closing)
	defer cancel()
	err := chromedp.Cancel(ctx)
	b.stop()
	err = errors.Join(err, b.proxy.Close())
	if served := b.group.Wait(); !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("end the browser: %w", err)
	}
	return nil
}

// through is an HTTP proxy (RFC 9110, 7.3.2 and 9.3.6).
func through(dial func(ctx context.Context, network, addr string) (net.Conn, error)) http.Handler {
	plain := &httputil.ReverseProxy{
		Rewrite:       func(*httputil.ProxyRequest) {},
		Transport:     &http.Transport{DialContext: dial},
		FlushInterval: -1, // at once
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			plain.ServeHTTP(w, r)
			return
		}
		there, err := dial(r.Context(), "tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer here.Close()
		if _, err := here.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")); err == nil {
			Join(here, there)
		}
	})
}

// unbound leaves a command as it is.
func unbound(*exec.Cmd) {}

// Join passes on what either side says, until one has ended: then both have.
func Join(here, there net.Conn) {
	var both errgroup.Group
	for from, to := range map[net.Conn]net.Conn{here: there, there: here} {
		both.Go(func() error {
			_, err := io.Copy(to, from)
			_ = to.Close() // and so the other copy ends
			return err
		})
	}
	_ = both.Wait() // a connection that breaks is the browser's to complain of
}
