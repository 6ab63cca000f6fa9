package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/storetest"
)

// TestStrangersFillNoLog: who shows one wrong secret after the other, or asks and goes,
// is a line a minute, that says how often.
func TestStrangersFillNoLog(t *testing.T) {
	id, err := authority.OpenIdentity(t.TempDir(), "first", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	log, now := slog.New(slog.NewTextHandler(&text, nil)), time.Unix(1_800_000_000, 0)
	kv := storetest.NewMem()
	custodian := NewCustodian(kv, id, time.Now, slog.New(slog.DiscardHandler))
	if err := custodian.Found(t.Context()); err != nil {
		t.Fatal(err)
	}
	door := NewDoor(kv, id, custodian, func() time.Time { return now }, log)
	door.checks.cost = 0
	handler := door.routes(t.Context())
	gone, leave := context.WithCancel(t.Context())
	leave()
	asks := func(ctx context.Context) {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, joinRoute, strings.NewReader(`{"secret":"aaaa","node":"n","host":"h","csr":"AAAA"}`))
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	for range 50 {
		asks(t.Context())
		asks(gone)
	}
	now = now.Add(rareEvery)
	asks(t.Context())
	if n := strings.Count(text.String(), "\n"); n != 2 || !strings.Contains(text.String(), "wrong_before=49") {
		t.Errorf("the log has %d lines:\n%s", n, text.String())
	}
}

// FuzzStrangers: whatever somebody without a credential says at a door, of
// whatever certificate, is refused in a few words, and is nobody's secret.
func FuzzStrangers(f *testing.F) {
	id, err := authority.OpenIdentity(f.TempDir(), "first", time.Now)
	if err != nil {
		f.Fatal(err)
	}
	kv, quiet := storetest.NewMem(), slog.New(slog.DiscardHandler)
	custodian := NewCustodian(kv, id, time.Now, quiet)
	if err := custodian.Found(f.Context()); err != nil {
		f.Fatal(err)
	}
	door := NewDoor(kv, id, custodian, time.Now, quiet)
	door.Standing = func(store.Life, string) Standing { return Standing{} }
	door.checks.cost = 0 // what guesses cost is another test's
	custody, _, err := id.Custody()
	if err != nil {
		f.Fatal(err)
	}
	handler := door.routes(f.Context())
	other, err := authority.New(time.Now())
	if err != nil {
		f.Fatal(err)
	}

	for _, route := range []string{joinRoute, renewRoute, custodyRoute, memberRoute, membersRoute, lifeRoute, "/", "/v1/join/..", "/v2/join"} {
		f.Add("POST", route, []byte(`{"secret":"aaaa","node":"n","host":"h","install":"i","csr":"AAAA"}`), []byte(nil))
		f.Add("GET", route, []byte(`{"secret":{},"csr":1}`), other.Root().Raw)
	}
	f.Add("POST", lifeRoute, []byte(`{"life":{"number":9223372036854775807},"door":"\u0000"}`), other.Root().Raw)
	f.Fuzz(func(t *testing.T, method, path string, body, certificate []byte) {
		asked := (&http.Request{Method: method, URL: &url.URL{Path: path}, Body: http.NoBody, RemoteAddr: "192.0.2.9:1", Header: http.Header{}, Host: "x"}).WithContext(t.Context())
		asked.Body = httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body)).Body
		asked.TLS = &tls.ConnectionState{}
		if shown, err := x509.ParseCertificate(certificate); err == nil {
			asked.TLS.PeerCertificates = []*x509.Certificate{shown}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, asked)
		refused := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed}
		if w.Code >= 300 && w.Code < 400 { // a path that is spelled otherwise
			refused = append(refused, w.Code)
		}
		if !slices.Contains(refused, w.Code) || w.Body.Len() > 1<<10 {
			t.Errorf("%q %q is answered %d with %d bytes: %.100s", method, path, w.Code, w.Body.Len(), w.Body)
		}
		if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("it is answered %q", w.Body)
		}
		if bytes.Contains(w.Body.Bytes(), []byte(custody.Secret)) {
			t.Error("the secret is told")
		}
	})
}
