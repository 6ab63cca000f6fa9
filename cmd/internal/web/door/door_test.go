package door

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	password = "open sesame"
	secret   = "what the site shows"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(line)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// opened is a door that is served on this host, whatever it is told to listen on.
type opened struct {
	*Door
	t      *testing.T
	at     string // HOST:PORT of the listener
	shown  atomic.Int64
	passed atomic.Int64 // nanoseconds since the test began
	log    lines
	end    func()
	ended  chan error
}

// errOver is why requests end with the door.
var errOver = errors.New("the test is over")

// lan is a door that others can reach: with a password, and a proxy at 127.0.0.2.
func lan(t *testing.T) *opened {
	return open(t, Config{
		Listen: "0.0.0.0:8470", Password: password, ProxyHeader: "X-Remote-User", ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")},
		Certificate: &Certificate{Names: []string{"h1", "127.0.0.1"}},
	})
}

// own is a door for this host alone.
func own(t *testing.T) *opened { return open(t, Config{Listen: "127.0.0.1:8470"}) }

func open(t *testing.T, c Config) *opened {
	t.Helper()
	o := &opened{t: t, ended: make(chan error, 1)}
	log := slog.New(slog.NewTextHandler(&o.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	now := time.Now()
	c.Now = func() time.Time { return now.Add(time.Duration(o.passed.Load())) }
	c.Random, c.Log, c.Command = rand.Reader, log, "gvlan web"
	if c.Site == nil {
		c.Site = http.HandlerFunc(o.site)
	}
	if c.Certificate != nil {
		c.Certificate.Now, c.Certificate.Log = c.Now, log
		if c.Certificate.Cert == "" {
			path := filepath.Join(t.TempDir(), "web.pem")
			c.Certificate.Cert, c.Certificate.Key = path, path
		}
	}
	var err error
	if o.Door, err = New(c); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.at = listener.Addr().String()
	ctx, end := context.WithCancelCause(context.Background())
	o.end = func() { end(errOver) }
	go func() { o.ended <- o.Serve(ctx, listener) }()
	t.Cleanup(func() {
		o.end()
		if err := <-o.ended; err != nil {
			t.Error(err)
		}
		o.ended <- nil
	})
	return o
}

// site is shown to who is let in, and goes on at /live.
func (o *opened) site(w http.ResponseWriter, r *http.Request) {
	o.shown.Add(1)
	fmt.Fprintln(w, secret, r.Header)
	if r.URL.Path == "/live" {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// asked is a request that comes from an address of this host.
type asked struct {
	from, method, path, host, user, password, cookie string
	headers                                          []string // X-Remote-User, each
	fetch                                            string   // Sec-Fetch-Site, -Mode and -Dest, with blanks between them
}

// ask sends a request, and follows no redirect.
func (o *opened) ask(a asked) *http.Response {
	o.t.Helper()
	from := &net.TCPAddr{IP: net.ParseIP("127.0.0.1")}
	if a.from != "" {
		from.IP = net.ParseIP(a.from)
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext: (&net.Dialer{LocalAddr: from}).DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: true, DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	o.t.Cleanup(client.CloseIdleConnections)
	method, path := a.method, a.path
	if method == "" {
		method = http.MethodGet
	}
	if path == "" {
		path = "/"
	}
	r, err := http.NewRequestWithContext(o.t.Context(), method, o.url(path), http.NoBody)
	if err != nil {
		o.t.Fatal(err)
	}
	r.Host = a.host
	if a.user != "" || a.password != "" {
		r.SetBasicAuth(a.user, a.password)
	}
	if a.cookie != "" {
		r.Header.Set("Cookie", a.cookie)
	}
	for _, value := range a.headers {
		r.Header.Add("X-Remote-User", value)
	}
	for i, value := range strings.Fields(a.fetch) {
		r.Header.Set([]string{"Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"}[i], value)
	}
	answer, err := client.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { answer.Body.Close() })
	return answer
}

func (o *opened) url(path string) string {
	if o.Certificate != nil {
		return "https://" + o.at + path
	}
	return "http://" + o.at + path
}

// link is the path of one.
func (o *opened) link() string {
	o.t.Helper()
	link, err := o.Link(o.at)
	if err != nil {
		o.t.Fatal(err)
	}
	path, ours := strings.CutPrefix(link, strings.TrimSuffix(o.url("/"), "/"))
	if !ours {
		o.t.Fatalf("the link %s is none to %s", link, o.url("/"))
	}
	return path
}

// browser is the cookie of one that comes by a link.
func (o *opened) browser() string {
	o.t.Helper()
	answer := o.ask(asked{path: o.link()})
	if cookies := answer.Cookies(); len(cookies) == 1 && answer.StatusCode == http.StatusSeeOther {
		return cookies[0].Name + "=" + cookies[0].Value
	}
	o.t.Fatalf("a link is answered with %s and %v", answer.Status, answer.Header)
	return ""
}

func body(t *testing.T, answer *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// in asks for the page, which is to be shown.
func (o *opened) in(why string, a asked) {
	o.t.Helper()
	before := o.shown.Load()
	answer := o.ask(a)
	if text := body(o.t, answer); answer.StatusCode != http.StatusOK || !strings.Contains(text, secret) || o.shown.Load() != before+1 {
		o.t.Errorf("%s: %s %s", why, answer.Status, text)
	}
}

// out asks for the page, of which nothing is to be shown.
func (o *opened) out(why string, status int, a asked) *http.Response {
	o.t.Helper()
	before := o.shown.Load()
	answer := o.ask(a)
	text := body(o.t, answer)
	if answer.StatusCode != status || strings.Contains(text, secret) || o.shown.Load() != before || len(answer.Cookies()) > 0 {
		o.t.Errorf("%s: %s, want %d; %v %s", why, answer.Status, status, answer.Header, text)
	}
	answer.Body = io.NopCloser(strings.NewReader(text))
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
		if got := answer.Header.Get(name); got != want {
			o.t.Errorf("%s: %s is %q", why, name, got)
		}
	}
	if !strings.HasPrefix(answer.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		o.t.Errorf("%s: no policy", why)
	}
	return answer
}

// paths are all kinds there are on the site, and some there are not.
var paths = []string{
	"/", "/static/style.css", "/static/page.js", "/static/icon.svg", "/live", "/v1/status", "/v1/openapi.json", "/networks/lan", "/hosts", "/names", "/events",
	"/search?q=web", "/?q=web", "//", "/../v1/status", "/%2e%2e/static/", "/favicon.ico", "/robots.txt", "/nothing",
}

// TestNothingIsServed: without a credential, or with one that is worth nothing, no
// path of a page on the LAN is shown, by any method.
func TestNothingIsServed(t *testing.T) {
	o := lan(t)
	browser := o.browser()
	used, lapsed := o.link(), o.link()
	name, value, _ := strings.Cut(browser, "=")
	if answer := o.ask(asked{path: used}); answer.StatusCode != http.StatusSeeOther {
		t.Fatal(answer.Status)
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
			o.out(method+" "+path, http.StatusUnauthorized, asked{path: path, method: method})
		}
		o.out("a cookie of nobody, "+path, http.StatusUnauthorized, asked{path: path, cookie: name + "=" + strings.Repeat("A", len(value))})
	}
	for why, a := range map[string]asked{
		"a cookie that is cut":               {cookie: strings.TrimSuffix(browser, browser[len(browser)-1:])},
		"an empty cookie":                    {cookie: name + "="},
		"a cookie by another name":           {cookie: "gvlan=" + value},
		"the cookie as a link":               {path: "/?key=" + value},
		"the header from elsewhere":          {headers: []string{"anna"}},
		"the header from elsewhere, twice":   {headers: []string{"anna", "anna"}},
		"no header from the proxy":           {from: "127.0.0.2"},
		"an empty header from the proxy":     {from: "127.0.0.2", headers: []string{""}},
		"blanks from the proxy":              {from: "127.0.0.2", headers: []string{" \t"}},
		"a client's header and the proxy's":  {from: "127.0.0.2", headers: []string{"mallory", "anna"}},
		"a link that was used":               {path: used},
		"a link that was used, by HEAD":      {path: used, method: "HEAD"},
		"a link to nothing":                  {path: "/?key="},
		"a link that is wrong":               {path: "/?key=" + strings.Repeat("A", len(value))},
		"a link to elsewhere on the page":    {path: "/v1/status" + strings.TrimPrefix(o.link(), "/")},
		"a link that is asked for by HEAD":   {path: o.link(), method: "HEAD"},
		"a link that is posted to":           {path: o.link(), method: "POST"},
		"two keys, of which one is of a use": {path: "/?key=x&" + strings.TrimPrefix(o.link(), "/?")},
	} {
		o.out(why, http.StatusUnauthorized, a)
	}
	o.in("the browser", asked{cookie: browser})
	o.passed.Store(int64(keyLife))
	o.out("a browser of yesterday", http.StatusUnauthorized, asked{cookie: browser})
	o.out("a link of yesterday", http.StatusUnauthorized, asked{path: lapsed})
	said := body(t, o.out("no credentials", http.StatusUnauthorized, asked{}))
	for _, way := range []string{"gvlan web", "the password, with any user name", "reverse proxy"} {
		if !strings.Contains(said, way) {
			t.Errorf("who is turned away is not told of %q: %s", way, said)
		}
	}
}

// TestRawRequests: what no client of Go sends is answered with nothing as well.
func TestRawRequests(t *testing.T) {
	o := own(t)
	for _, text := range []string{
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET http://localhost/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x00\x05hello\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", o.at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(conn)
		conn.Close()
		if status, _, _ := strings.Cut(string(said), "\r\n"); !strings.Contains(status, " 4") || strings.Contains(string(said), secret) {
			t.Errorf("%q is answered with %q", text, said)
		}
	}
	if n := o.shown.Load(); n != 0 {
		t.Errorf("the site was shown %d times", n)
	}
}

// TestWaysIn: the password with any user, the proxy's header, and a link, whose
// browser goes on without the key.
func TestWaysIn(t *testing.T) {
	o := lan(t)
	for _, path := range paths {
		o.in("the password, "+path, asked{path: path, password: password, user: "anybody", method: "GET"}.short())
	}
	o.in("no user", asked{password: password})
	o.in("the proxy", asked{from: "127.0.0.2", headers: []string{"anna"}})
	answer := o.ask(asked{path: o.link() + "&q=web"})
	if to := answer.Header.Get("Location"); answer.StatusCode != http.StatusSeeOther || to != "/?q=web" {
		t.Fatalf("a link leads to %q, %s", to, answer.Status)
	}
	if answer.Header.Get("Referrer-Policy") != "no-referrer" || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the link may be kept: %v", answer.Header)
	}
	c := answer.Cookies()[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-gvlan-") || c.MaxAge != 12*3600 {
		t.Errorf("the cookie is %v", c)
	}
	cookie := c.Name + "=" + c.Value
	o.in("the browser", asked{cookie: cookie})
	o.in("the browser, with what others set", asked{cookie: c.Name + "=x; a=b; " + cookie})
	used := o.link()
	for _, a := range []asked{{path: used}, {path: used, cookie: cookie}, {path: used, password: password}} {
		if answer := o.ask(a); answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/" {
			t.Errorf("a link, and again by who is let in: %s", answer.Status)
		}
	}
	told := body(t, o.ask(asked{cookie: cookie, user: "x", password: "y"})) + body(t, o.ask(asked{from: "127.0.0.2", headers: []string{"anna"}}))
	if strings.Contains(told, "Authorization") || strings.Contains(told, "Cookie") || strings.Contains(told, "X-Remote-User") {
		t.Errorf("what lets in is passed on: %s", told)
	}
}

// TestPagesOfOthers: what a page of somebody else's has a browser ask for within it is not
// shown, although the browser is let in; a link of theirs may lead here.
func TestPagesOfOthers(t *testing.T) {
	o := lan(t)
	cookie := o.browser()
	for _, how := range []string{"cross-site no-cors image", "cross-site cors empty", "cross-site navigate iframe", "same-site no-cors script", "same-site"} {
		o.out(how, http.StatusForbidden, asked{fetch: how, path: "/search?q=10.0.0.1", cookie: cookie})
		o.out(how, http.StatusForbidden, asked{fetch: how, path: "/v1/whois?of=10.0.0.1", password: password})
		o.out(how, http.StatusForbidden, asked{fetch: how, path: o.link()})
	}
	for _, how := range []string{"same-origin cors empty", "same-origin no-cors script", "none navigate document", "cross-site navigate document", ""} {
		o.in(how, asked{fetch: how, cookie: cookie})
	}
}

// short leaves out a path that goes on.
func (a asked) short() asked {
	if a.path == "/live" {
		a.path = "/"
	}
	return a
}

// TestLoopback: on this host only a link lets in, and only to a browser that was not
// led here by another name.
func TestLoopback(t *testing.T) {
	o := own(t)
	cookie := o.browser()
	o.in("the browser", asked{cookie: cookie})
	for _, host := range []string{"localhost", "LOCALHOST:8470", "127.0.0.1", "127.1.2.3:80", "[::1]:8470", "[::1]"} {
		o.in(host, asked{cookie: cookie, host: host})
	}
	for _, host := range []string{"evil.example", "127.0.0.1.evil.example:8470", "localhost.evil.example", "192.168.1.10:8470", "0.0.0.0", "[::]", "h1"} {
		o.out(host, http.StatusMisdirectedRequest, asked{cookie: cookie, host: host})
		o.out(host, http.StatusMisdirectedRequest, asked{path: o.link(), host: host})
	}
	for why, a := range map[string]asked{"nobody": {}, "a password": {user: "root", password: "password"}, "no password": {user: "root"}, "a header": {headers: []string{"root"}}} {
		answer := o.out(why, http.StatusUnauthorized, a)
		if got := answer.Header.Get("WWW-Authenticate"); got != "" {
			t.Errorf("%s: a password is asked for, and there is none: %s", why, got)
		}
	}
	if c := o.ask(asked{path: o.link()}).Cookies()[0]; c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("the cookie is %v", c)
	}
	other := own(t)
	if a, b := strings.Split(cookie, "=")[0], strings.Split(other.browser(), "=")[0]; a == b {
		t.Errorf("two doors of a host have one cookie, %s: the browser of one is not let in to the other", a)
	}
	other.out("the cookie of another door", http.StatusUnauthorized, asked{cookie: cookie})
}

// TestWithoutTLS: nobody makes a door without it that others can reach.
func TestWithoutTLS(t *testing.T) {
	for _, at := range []string{"0.0.0.0:8470", "[::]:8470", "192.168.1.10:8470", "localhost:8470", ""} {
		if _, err := New(Config{Listen: at, Password: password, Random: rand.Reader, Now: time.Now}); err == nil {
			t.Errorf("%s is opened without TLS", at)
		}
	}
}

// TestKeysAreBounded: the oldest are forgotten.
func TestKeysAreBounded(t *testing.T) {
	o := own(t)
	first, cookie := o.link(), o.browser()
	var last string
	for range mostLinks {
		last = o.link()
	}
	o.out("the oldest link", http.StatusUnauthorized, asked{path: first})
	if answer := o.ask(asked{path: last}); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("the newest link: %s", answer.Status)
	}
	for range mostBrowsers {
		if _, err := o.keys.draw(&o.keys.browsers, mostBrowsers); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.keys.links) > mostLinks || len(o.keys.browsers) > mostBrowsers {
		t.Errorf("%d links and %d browsers are remembered", len(o.keys.links), len(o.keys.browsers))
	}
	o.out("the oldest browser", http.StatusUnauthorized, asked{cookie: cookie})
}

// TestEnd: what goes on ends with the door, and nobody is being answered when it has
// ended, also who takes longer than is waited for before connections are cut.
func TestEnd(t *testing.T) {
	for name, o := range map[string]*opened{"HTTP/1.1": own(t), "HTTP/2.0": lan(t)} {
		release := make(chan struct{})
		var left atomic.Bool
		o.Site = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, secret)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			if err := context.Cause(r.Context()); !errors.Is(err, errOver) {
				t.Errorf("%s %s: it ends, and not with the door: %v", name, r.URL.Path, err)
			}
			if r.URL.Path == "/slow" {
				<-release
			}
			left.Store(true)
		})
		for _, path := range []string{"/live", "/slow"} {
			if path == "/slow" {
				o = open(t, o.Config)
			}
			answer := o.ask(asked{path: path, cookie: o.browser()})
			if answer.Proto != name {
				t.Errorf("it is %s, want %s", answer.Proto, name)
			}
			begun := make([]byte, len(secret))
			if _, err := io.ReadFull(answer.Body, begun); err != nil || string(begun) != secret {
				t.Fatalf("read %q: %v", begun, err)
			}
			left.Store(false)
			o.end()
			_, _ = io.Copy(io.Discard, answer.Body) // until the connection is cut
			if path == "/slow" {
				time.AfterFunc(50*time.Millisecond, func() { close(release) }) // a door that does not wait has ended by then
			}
			if err := <-o.ended; err != nil {
				t.Error(err)
			}
			if !left.Load() {
				t.Errorf("%s %s: the door has ended, and somebody is being answered", name, path)
			}
			o.ended <- nil
		}
	}
}

// TestSecretsAreNotLogged at any level.
func TestSecretsAreNotLogged(t *testing.T) {
	o := lan(t)
	link := o.link()
	cookie := o.browser()
	o.in("the password", asked{user: "wilhelmina", password: password})
	o.out("a wrong one", http.StatusUnauthorized, asked{user: "wilhelmina", password: "open barley"})
	o.out("and again", http.StatusUnauthorized, asked{user: "wilhelmina", password: "open barley"})
	o.ask(asked{path: link})
	o.out("a used link", http.StatusUnauthorized, asked{path: link})
	_, value, _ := strings.Cut(cookie, "=")
	for _, word := range []string{password, "open barley", "wilhelmina", strings.TrimPrefix(link, "/?key="), value} {
		if strings.Contains(o.log.text(), word) {
			t.Errorf("the log has %q:\n%s", word, o.log.text())
		}
	}
	if n := strings.Count(o.log.text(), "a wrong password"); n != 1 {
		t.Errorf("a wrong password is told %d times:\n%s", n, o.log.text())
	}
}

// TestOneMachineKeepsNobodyOut holds all the connections that one address gets, without
// a request, and then some.
func TestOneMachineKeepsNobodyOut(t *testing.T) {
	o := lan(t)
	hold := func(from string, count int) {
		for range count {
			conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", o.at)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
		}
	}
	hold("127.0.0.5", atOnce)
	o.in("another address", asked{from: "127.0.0.6", password: password})
	hold("127.0.0.2", ofOne+1)
	o.in("through the proxy, which has many", asked{from: "127.0.0.2", headers: []string{"wilhelmina"}})
}

// TestAddressThatIsTaken is told, and tried again until it can be had.
func TestAddressThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	d, err := New(Config{Listen: taken.Addr().String(), Random: rand.Reader, Now: time.Now, Log: slog.New(slog.NewTextHandler(log, nil)), Command: "gvlan web"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	until(t, "it is told", func() bool { return d.Missing() != nil && strings.Contains(log.text(), "--web-listen") })
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is served", func() bool {
		answer, err := http.Get("http://" + d.Listen)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusUnauthorized && d.Missing() == nil
	})
	if said := log.text(); strings.Count(said, "\n") != 2 || !strings.Contains(said, "the page is served") {
		t.Errorf("logged:\n%s", said)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// until asks until it is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after 30 s: %s", what)
		}
	}
}
