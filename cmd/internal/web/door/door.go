package door

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cmd/internal/listen"
	"gvlan/cmd/internal/web"
)

// Config is what a door is made of.
type Config struct {
	Site        http.Handler // what is behind it
	Listen      string       // HOST:PORT
	Password    string       // "": none lets in
	ProxyHeader string       // that of requests which a reverse proxy let in; "": none does
	ProxyFrom   []netip.Prefix
	Certificate *Certificate // nil: without TLS, on loopback only
	Command     string       // that prints a link
	Now         func() time.Time
	Random      io.Reader
	Log         *slog.Logger
}

// Door lets requests in to a site.
type Door struct {
	Config
	loopback bool // only this host can connect
	password [sha256.Size]byte
	keys     *keys
	guesses  *guesses
	place    *listen.Place

	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup // requests
}

// limits of a connection.
const (
	readLimit    = 5 * time.Second  // for a request to arrive
	idleLimit    = 60 * time.Second // between two
	longestHead  = 32 << 10         // bytes
	atOnce       = 256              // connections
	ofStrangers  = 192              // of those, for who comes by no proxy
	ofOne        = 16               // of those, for one address: a browser has six, or one over HTTP/2
	cookieRandom = 4                // bytes
)

// New makes a door. It fails if there is no randomness.
func New(c Config) (*Door, error) {
	name := make([]byte, cookieRandom)
	if _, err := io.ReadFull(c.Random, name); err != nil {
		return nil, fmt.Errorf("the page's door: %w", err)
	}
	at, err := netip.ParseAddrPort(c.Listen)
	loopback := err == nil && at.Addr().Unmap().IsLoopback()
	if c.Certificate == nil && !loopback {
		return nil, fmt.Errorf("the page's door: %s is not this host's alone, and there is no certificate", c.Listen)
	}
	// Browsers send a cookie to every port of a host: another door's, at the end of an
	// SSH tunnel say, has another name.
	cookie := "gvlan-" + hex.EncodeToString(name)
	if c.Certificate != nil {
		cookie = "__Host-" + cookie // RFC 6265bis, 4.1.3.2
	}
	return &Door{
		Config: c, loopback: loopback, password: sha256.Sum256([]byte(c.Password)), guesses: newGuesses(c.Now),
		keys:  &keys{cookie: cookie, secure: c.Certificate != nil, now: c.Now, random: c.Random},
		place: &listen.Place{Address: c.Listen, Option: "web-listen", What: "the page is", Log: c.Log},
	}, nil
}

// Run listens until ctx ends; an address that cannot be had is tried again.
func (d *Door) Run(ctx context.Context) error {
	if d.Certificate != nil {
		_, _ = d.Certificate.get() // whose want is told now, and not when somebody comes
	}
	listener, had := d.place.Listen(ctx)
	if !had {
		return nil
	}
	return d.Serve(ctx, listener)
}

// Serve lets in who comes by a listener, until ctx ends. When it returns nobody is
// being answered.
func (d *Door) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: d, ReadHeaderTimeout: readLimit, IdleTimeout: idleLimit, MaxHeaderBytes: longestHead,
		DisableGeneralOptionsHandler: true,                                              // it answers anybody
		BaseContext:                  func(net.Listener) context.Context { return ctx }, // what goes on ends with it
		ErrorLog:                     slog.NewLogLogger(d.Log.Handler(), slog.LevelDebug),
	}
	if d.Certificate != nil {
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return d.Certificate.get()
		}}
	}
	err := listen.Serve(ctx, server, listen.Crowd{All: atOnce, Strangers: ofStrangers, Each: ofOne, Known: d.ofMany}.Limit(listener))
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.inside.Wait()
	if err != nil {
		return fmt.Errorf("the page: %w", err)
	}
	return nil
}

// ofMany reports whether the connections of an address are those of many people: a
// reverse proxy's, or all of them on loopback, tunnels among them.
func (d *Door) ofMany(addr netip.Addr) bool { return d.loopback || d.isProxy(addr) }

// Missing is why the door is not open: its address or its certificate cannot be
// had. It is nil before Run.
func (d *Door) Missing() error {
	if err := d.place.Missing(); err != nil {
		return err
	}
	if d.Certificate == nil {
		return nil
	}
	_, err := d.Certificate.get()
	return err
}

// Link is where one browser is let in, once. Host is by what the door is reached,
// HOST:PORT.
func (d *Door) Link(host string) (string, error) {
	key, err := d.keys.link()
	if err != nil {
		return "", err
	}
	scheme := "http"
	if d.Certificate != nil {
		scheme = "https"
	}
	return scheme + "://" + host + "/?" + keyParameter + "=" + key, nil
}

// ServeHTTP implements http.Handler.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.enter() {
		http.Error(w, "this agent ends", http.StatusServiceUnavailable)
		return
	}
	defer d.inside.Done()
	if r.ContentLength != 0 { // nothing here is sent anything
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readLimit))
	}
	if d.loopback && !isLoopback(r.Host) {
		d.refuse(w, http.StatusMisdirectedRequest, "This page is for this host alone, and answers to no other name: open it as localhost or 127.0.0.1. A reverse proxy has to send one of those as Host.")
		return
	}
	if fromElsewhere(r) {
		d.refuse(w, http.StatusForbidden, "A page of somebody else's asks for this, and not you.")
		return
	}
	if r.Method == http.MethodGet && r.URL.Path == "/" && r.URL.Query().Has(keyParameter) {
		d.byLink(w, r)
		return
	}
	if d.known(r) {
		d.lead(w, r)
		return
	}
	if refused, again := d.byPassword(r); refused {
		d.turnAway(w, again)
		return
	}
	d.lead(w, r)
}

// enter counts a request that is inside, unless the door is closed.
func (d *Door) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.inside.Add(1)
	return true
}

// known reports whether a proxy let the request in, or the browser was let in
// before.
func (d *Door) known(r *http.Request) bool { return d.byProxy(r) || d.keys.has(r) }

// byProxy reports whether a reverse proxy let the request in. A header that is there
// twice may be the client's own beside the proxy's.
func (d *Door) byProxy(r *http.Request) bool {
	if d.ProxyHeader == "" {
		return false
	}
	from, values := source(r), r.Header.Values(d.ProxyHeader)
	return len(values) == 1 && strings.TrimSpace(values[0]) != "" && d.isProxy(from)
}

// isProxy reports whether an address is one of --web-proxy-from.
func (d *Door) isProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(d.ProxyFrom, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// byLink has a browser that comes by a link go on without the key in its address.
func (d *Door) byLink(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	cookie, err := d.keys.use(query.Get(keyParameter))
	switch {
	case err == nil:
		d.Log.Info("a browser is let in to the page by a link", "from", source(r))
		http.SetCookie(w, cookie)
	case !d.known(r):
		if refused, again := d.byPassword(r); refused {
			d.turnAway(w, again)
			return
		}
	}
	query.Del(keyParameter)
	to := "/"
	if rest := query.Encode(); rest != "" {
		to += "?" + rest
	}
	web.Forbid(w.Header())
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// byPassword refuses whoever has not the password; again is when another may be
// tried, zero at once.
func (d *Door) byPassword(r *http.Request) (refused bool, again time.Duration) {
	_, password, given := r.BasicAuth()
	if d.Password == "" || !given {
		return true, 0
	}
	sum := sha256.Sum256([]byte(password))
	from := source(r)
	right, first, again := d.guesses.try(from, func() bool { return subtle.ConstantTimeCompare(sum[:], d.password[:]) == 1 })
	if first {
		d.Log.Warn("a wrong password for the page: more of this address are not told", "from", from)
	}
	return !right, again
}

// lead shows the site to a request, without what let it in.
func (d *Door) lead(w http.ResponseWriter, r *http.Request) {
	r.Header.Del("Authorization")
	r.Header.Del("Cookie")
	r.Header.Del(d.ProxyHeader)
	d.Site.ServeHTTP(w, r)
}

// source is the address that a request came from; the zero one where it is none.
func source(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// fromElsewhere reports whether a page of another site, or of another port of this
// host, has a browser ask for something within itself (W3C Fetch Metadata Request
// Headers). The browser sends what lets it in with that, too: the password always, the
// cookie where only the port is another.
func fromElsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document" // a link
	}
	return false
}

// isLoopback reports whether a Host header names this host as itself: a name that
// leads here by somebody's DNS does not.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Zone() == "" && addr.IsLoopback()
}
