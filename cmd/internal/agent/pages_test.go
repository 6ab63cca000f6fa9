package agent

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"gvlan/cluster/store/storetest"
	"gvlan/cmd/internal/api"
)

// freePort is one of loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// door is what `gvlan web` is told, once the agent listens.
func (h *memoryHost) door(t *testing.T) (d api.WebDoor) {
	t.Helper()
	eventually(t, "the page is served", func() bool {
		d = api.WebDoor{}
		if err := h.status.Ask(t.Context(), http.MethodPost, api.WebKeyRoute, &d); err != nil || d.Why != "" {
			return false
		}
		conn, err := net.Dial("tcp", strings.Replace(d.Listen, "0.0.0.0", "127.0.0.1", 1))
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return d
}

// asks is the status, the body and the certificate that a page is answered with.
func asks(t *testing.T, client *http.Client, method, url string, change func(*http.Request)) (int, string, *http.Response) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	change(r)
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(text), a
}

// TestPageOnTheLAN: the real page is shown to nobody without a credential, on any of
// its paths, and whole to who has one; what follows it ends with the agent.
func TestPageOnTheLAN(t *testing.T) {
	h := startHost(t, storetest.NewMem(), "h1", "--web-listen", "0.0.0.0:"+freePort(t), "--web-password", "open-sesame")
	d := h.door(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	base, _, _ := strings.Cut(d.Link, "/?")
	if !strings.HasPrefix(base, "https://127.0.0.1:") || !d.Made || !d.Password {
		t.Fatalf("told %+v", d)
	}
	paths := []string{"/", "/static/style.css", "/static/page.js", "/live", "/v1/status", "/nothing"}
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			if status, text, _ := asks(t, client, method, base+path, func(*http.Request) {}); status != http.StatusUnauthorized || strings.Contains(text, "host-h1") {
				t.Errorf("%s %s without a credential: %d %s", method, path, status, text)
			}
		}
		if path == "/live" {
			continue
		}
		status, _, a := asks(t, client, http.MethodGet, base+path, func(r *http.Request) { r.SetBasicAuth("me", "open-sesame") })
		if want := map[bool]int{true: http.StatusNotFound, false: http.StatusOK}[path == "/nothing"]; status != want {
			t.Errorf("GET %s with the password: %d, want %d", path, status, want)
		}
		sum := strings.ToUpper(fmt.Sprintf("% x", sha256.Sum256(a.TLS.PeerCertificates[0].Raw)))
		if strings.ReplaceAll(sum, " ", ":") != d.Fingerprint {
			t.Errorf("the certificate is %s, told was %s", sum, d.Fingerprint)
		}
	}
	client.Jar = jar
	if status, text, a := asks(t, client, http.MethodGet, d.Link, func(*http.Request) {}); status != http.StatusOK || !strings.Contains(text, "host-h1") || a.Request.URL.RawQuery != "" {
		t.Errorf("by the link: %d at %s, %s", status, a.Request.URL, text)
	}
	if status, _, _ := asks(t, client, http.MethodPost, base+"/", func(*http.Request) {}); status != http.StatusMethodNotAllowed {
		t.Errorf("a POST of who is let in: %d", status)
	}
	live, err := client.Get(base + "/live")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Body.Close()
	follows := bufio.NewReader(live.Body)
	if line, err := follows.ReadString('\n'); err != nil || line != "event: change\n" {
		t.Errorf("/live says %q, %v", line, err)
	}
	h.stop(t, nil)
	_, _ = io.Copy(io.Discard, follows) // which has an end
}

// TestPageOnThisHost: without a password the agent's link is the only way in; one that
// cannot listen says so, and stays.
func TestPageOnThisHost(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := startHost(t, storetest.NewMem(), "h1", "--web-listen", taken.Addr().String())
	defer h.stop(t, nil)
	var d api.WebDoor
	eventually(t, "the address that is taken is told", func() bool {
		var status api.Status
		if err := h.status.Get(t.Context(), api.StatusRoute, &status); err != nil {
			return false
		}
		said := strings.Join(status.Warnings, "\n")
		return strings.Contains(said, "the page is not served on --web-listen "+taken.Addr().String())
	})
	if err := h.status.Ask(t.Context(), http.MethodPost, api.WebKeyRoute, &d); err != nil || !strings.Contains(d.Why, "in use") || d.Link != "" {
		t.Errorf("told %+v, %v", d, err)
	}
	taken.Close()
	d = h.door(t)
	if !strings.HasPrefix(d.Link, "http://"+d.Listen+"/?key=") || d.Fingerprint != "" {
		t.Errorf("told %+v", d)
	}
	jar, _ := cookiejar.New(nil)
	if status, _, _ := asks(t, http.DefaultClient, http.MethodGet, "http://"+d.Listen, func(*http.Request) {}); status != http.StatusUnauthorized {
		t.Errorf("without the link: %d", status)
	}
	if status, text, _ := asks(t, &http.Client{Jar: jar}, http.MethodGet, d.Link, func(*http.Request) {}); status != http.StatusOK || !strings.Contains(text, "host-h1") {
		t.Errorf("by the link: %d %s", status, text)
	}
}

// TestPageNowhere: an agent that does not serve it says so.
func TestPageNowhere(t *testing.T) {
	h := startHost(t, storetest.NewMem(), "h1")
	defer h.stop(t, nil)
	var d api.WebDoor
	eventually(t, "an answer", func() bool {
		return h.status.Ask(t.Context(), http.MethodPost, api.WebKeyRoute, &d) == nil
	})
	if d != (api.WebDoor{}) {
		t.Errorf("told %+v", d)
	}
}
