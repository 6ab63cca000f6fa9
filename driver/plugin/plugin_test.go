package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestListenReplacesTheSocketOfADeadAgent: a crash leaves the file.
func TestListenReplacesTheSocketOfADeadAgent(t *testing.T) {
	folder, err := os.MkdirTemp("", "gvlan")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	if err := os.WriteFile(filepath.Join(folder, "gvlan.sock"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(folder, "gvlan")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(filepath.Join(folder, "gvlan.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want mode 0600", info, err)
	}
}

// TestServeLeavesNoConnection: Docker keeps its connections, and an agent that
// begins anew in the same process is to be called by the next call.
func TestServeLeavesNoConnection(t *testing.T) {
	folder := t.TempDir()
	docker := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(folder, "gvlan.sock"))
	}}}
	for swarm, want := range map[bool]string{true: "global", false: "local"} {
		l, err := Listen(folder, "gvlan")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- New(Config{Swarm: swarm, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, l) }()
		answer, err := docker.Post("http://gvlan/NetworkDriver.GetCapabilities", "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		var said struct{ Scope string }
		if err := json.NewDecoder(answer.Body).Decode(&said); err != nil || said.Scope != want {
			t.Errorf("answered with scope %q (%v), want %s: another plugin's connection is still served", said.Scope, err, want)
		}
		if err := answer.Body.Close(); err != nil {
			t.Error(err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// told is a driver whose host knows one network and one container, until its
// endpoint is deleted.
type told struct {
	Driver
	gone bool
}

func (d *told) Who(network, _ string) (name, container string) {
	if network != "0123456789abcdef" || d.gone {
		return "", ""
	}
	return "lan", "web"
}

func (d *told) DeleteEndpoint(context.Context, string) error {
	d.gone = true
	return nil
}

func (d *told) Leave(context.Context, string) error { return errors.New("the disk is full") }

// pooled is an allocator with one pool.
type pooled struct{ Addresses }

func (pooled) NetworkOf(pool string) string {
	if pool == "P" {
		return "0123456789abcdef"
	}
	return ""
}

func (pooled) ReleaseAddress(context.Context, string, string) error { return nil }

// TestOneLineACall: each call is one line that says who it was about, and is
// observed once.
func TestOneLineACall(t *testing.T) {
	var log bytes.Buffer
	var observed []string
	p := New(Config{
		Driver: &told{}, Addresses: pooled{}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Observe: func(method string, took time.Duration, refused error) {
			if took < 0 {
				t.Errorf("%s took %s", method, took)
			}
			observed = append(observed, fmt.Sprintf("%s %v", method, refused))
		},
	})
	for _, call := range []struct{ method, body, line string }{
		{"NetworkDriver.Leave", `{"NetworkID":"0123456789abcdef","EndpointID":"aaaabbbbccccdddd"}`,
			`level=ERROR msg=refused method=NetworkDriver.Leave network=lan container=web endpoint=aaaabbbbcccc took=TOOK err="the disk is full"`},
		{"NetworkDriver.DeleteEndpoint", `{"NetworkID":"0123456789abcdef","EndpointID":"aaaabbbbccccdddd"}`,
			`level=INFO msg=answered method=NetworkDriver.DeleteEndpoint network=lan container=web endpoint=aaaabbbbcccc took=TOOK`},
		{"NetworkDriver.DeleteEndpoint", `{"NetworkID":"fedcba9876543210","EndpointID":"aaaabbbbccccdddd"}`,
			`level=INFO msg=answered method=NetworkDriver.DeleteEndpoint network=fedcba987654 endpoint=aaaabbbbcccc took=TOOK`},
		{"IpamDriver.ReleaseAddress", `{"PoolID":"Q","Address":"10.0.0.2"}`,
			`level=INFO msg=answered method=IpamDriver.ReleaseAddress pool=Q address=10.0.0.2 took=TOOK`},
		{"IpamDriver.ReleaseAddress", `{"PoolID":"P","Address":"10.0.0.2"}`,
			`level=INFO msg=answered method=IpamDriver.ReleaseAddress network=0123456789ab pool=P address=10.0.0.2 took=TOOK`},
	} {
		log.Reset()
		p.mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/"+call.method, strings.NewReader(call.body)))
		_, line, _ := strings.Cut(strings.TrimSpace(log.String()), " ")
		if line = regexp.MustCompile(`took=\S+`).ReplaceAllString(line, "took=TOOK"); line != call.line {
			t.Errorf("%s %s:\ngot  %s\nwant %s", call.method, call.body, line, call.line)
		}
	}
	want := []string{
		"NetworkDriver.Leave the disk is full", "NetworkDriver.DeleteEndpoint <nil>", "NetworkDriver.DeleteEndpoint <nil>",
		"IpamDriver.ReleaseAddress <nil>", "IpamDriver.ReleaseAddress <nil>",
	}
	if !slices.Equal(observed, want) {
		t.Errorf("observed %q, want %q", observed, want)
	}
}

// rude is a driver whose refusals say what others wrote.
type rude struct {
	told
	said string
}

func (r *rude) Leave(context.Context, string) error { return errors.New(r.said) }

// TestRefusalsAreVisible: Docker prints what it is refused with on the terminal of
// whoever asked, and in its log.
func TestRefusalsAreVisible(t *testing.T) {
	var log bytes.Buffer
	driver := &rude{}
	p := New(Config{Driver: driver, Addresses: pooled{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for said, want := range map[string]string{
		"in use by web\x1b[2J\u009b2J":  `in use by web\u001b[2J\u009b2J`,
		"in use by \u202egnp\r\x07\x00": `in use by \u202egnp\u000d\u0007\u0000`,
		"in use by \xff":                `in use by \xff`,
	} {
		driver.said = said
		log.Reset()
		w := httptest.NewRecorder()
		p.mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/NetworkDriver.Leave", strings.NewReader(`{"NetworkID":"0123456789abcdef","EndpointID":"aaaabbbbccccdddd"}`)))
		var answer struct{ Err string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Err != want {
			t.Errorf("%q is told as %q (%v), want %q", said, answer.Err, err, want)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 || strings.ContainsAny(log.String(), "\x1b\u009b\u202e\r\x00") {
			t.Errorf("%q is logged as %q", said, log.String())
		}
	}
}
