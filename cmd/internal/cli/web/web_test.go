package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
)

// agent serves pages on a status socket, and says how the agent does so itself.
func agent(t *testing.T, told api.WebDoor, pages http.HandlerFunc) (socket string, end func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "gvlan.sock")
	server, err := api.NewServer(socket, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server.Handle("POST "+api.WebKeyRoute, func(*http.Request) (any, error) { return told, nil })
	server.Handle("GET /v1/secret", func(*http.Request) (any, error) { return "of the socket", nil })
	server.Site(api.SitePath, pages)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return socket, end
}

// running is a command that goes on.
type running struct {
	link   string
	out    *bufio.Reader
	errs   bytes.Buffer
	end    context.CancelFunc
	status chan int
}

// run types `gvlan web` and reads the link it prints.
func run(t *testing.T, socket string, args ...string) *running {
	t.Helper()
	from, to := io.Pipe()
	r := &running{out: bufio.NewReader(from), status: make(chan int, 1)}
	root := &cobra.Command{Use: "gvlan"}
	root.AddCommand(New())
	var ctx context.Context
	ctx, r.end = context.WithCancel(context.Background())
	go func() {
		status := frame.Run(ctx, root, append([]string{"web", "--status-socket", socket, "--listen", "127.0.0.1:0"}, args...), to, &r.errs)
		to.Close()
		r.status <- status
	}()
	t.Cleanup(func() {
		r.end()
		from.Close()
	})
	line, err := r.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v, status %d: %s", err, <-r.status, &r.errs)
	}
	r.link = strings.TrimSpace(line)
	return r
}

// drained reads on until the command ends.
func (r *running) drained(t *testing.T) (rest string, status int) {
	t.Helper()
	r.end()
	text, err := io.ReadAll(r.out)
	if err != nil {
		t.Error(err)
	}
	return string(text), <-r.status
}

// TestServes: where the agent serves the page nowhere the command does, to the
// browser with its link, what goes on too, until it is interrupted.
func TestServes(t *testing.T) {
	t.Setenv("SSH_CONNECTION", "10.0.0.9 50000 192.168.1.10 22")
	followed, over := make(chan struct{}), make(chan struct{})
	socket, _ := agent(t, api.WebDoor{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Frame-Options", "DENY")
		fmt.Fprintf(w, "%s %s %v\n", r.Method, r.URL.EscapedPath()+"?"+r.URL.RawQuery, r.Header.Get("Cookie")+r.Header.Get("X-Forwarded-For"))
		if r.URL.Path == "/web/live" {
			_ = http.NewResponseController(w).Flush()
			close(followed)
			<-r.Context().Done()
			close(over)
		}
	})
	r := run(t, socket)
	base, _, ours := strings.Cut(r.link, "/?key=")
	if !ours || !strings.HasPrefix(base, "http://127.0.0.1:") {
		t.Fatalf("printed %q", r.link)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	asks := func(client *http.Client, method, path string) (int, string) {
		t.Helper()
		question, err := http.NewRequestWithContext(t.Context(), method, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(question)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if frames := answer.Header.Values("X-Frame-Options"); len(frames) > 1 {
			t.Errorf("%s %s has headers twice: %v", method, path, answer.Header)
		}
		return answer.StatusCode, strings.TrimSpace(string(text))
	}
	if status, text := asks(http.DefaultClient, "GET", "/v1/x"); status != http.StatusUnauthorized || !strings.Contains(text, "gvlan web.") {
		t.Errorf("another user: %d %s", status, text)
	}
	if status, text := asks(browser, "GET", strings.TrimPrefix(r.link, base)); status != http.StatusOK || text != "GET /web/?" {
		t.Errorf("the link: %d %s", status, text)
	}
	for path, want := range map[string]string{
		"/v1/status?a=b;c": "GET /web/v1/status?a=b;c", "/networks/a%2Fb%20c": "GET /web/networks/a%2Fb%20c?", "/x/": "GET /web/x/?", "/%C3%A9": "GET /web/%C3%A9?",
	} {
		if status, text := asks(browser, "GET", path); status != http.StatusOK || text != want {
			t.Errorf("%s: %d %q, want %q", path, status, text, want)
		}
	}
	for _, path := range []string{"/../v1/secret", "/%2e%2e/v1/secret", "/..%2fv1/secret", "/x/../../v1/secret", "//v1/secret", "/./x"} {
		if status, text := asks(browser, "GET", path); status == http.StatusOK || strings.Contains(text, "of the socket") {
			t.Errorf("%s leads out of the pages: %d %s", path, status, text)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		if status, text := asks(browser, method, "/v1/x"); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %s", method, status, text)
		}
	}
	live, err := browser.Get(base + "/live")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Body.Close()
	if line, err := bufio.NewReader(live.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, "GET /web/live") {
		t.Errorf("what goes on says %q, %v", line, err)
	}
	<-followed
	rest, status := r.drained(t)
	<-over
	if status != frame.Well || !strings.Contains(rest, "ssh -L "+strings.TrimPrefix(base, "http://127.0.0.1:")+":"+strings.TrimPrefix(base, "http://")+" 192.168.1.10\n") {
		t.Errorf("status %d, printed %s", status, rest)
	}
	if said := r.errs.String(); said != "served until this command is interrupted (Ctrl-C)\n" {
		t.Errorf("said %s", said)
	}
}

// TestServesAsJSON prints what there is, and serves.
func TestServesAsJSON(t *testing.T) {
	socket, _ := agent(t, api.WebDoor{Listen: "192.168.1.10:8470", Why: "taken"}, func(http.ResponseWriter, *http.Request) {})
	r := run(t, socket, "--json")
	rest, status := r.drained(t)
	var told api.WebDoor
	if err := json.Unmarshal([]byte(r.link+rest), &told); err != nil || status != frame.Well || !strings.HasPrefix(told.Link, "http://"+told.Listen+"/?key=") {
		t.Errorf("status %d, %+v, %v", status, told, err)
	}
}

// TestAgentIsGone: who is let in is told where the agent was looked for.
func TestAgentIsGone(t *testing.T) {
	socket, end := agent(t, api.WebDoor{}, func(http.ResponseWriter, *http.Request) {})
	r := run(t, socket)
	defer r.drained(t)
	end()
	jar, _ := cookiejar.New(nil)
	answer, err := (&http.Client{Jar: jar}).Get(r.link)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusBadGateway || !strings.Contains(string(text), "no agent answers at "+socket) {
		t.Errorf("%s %s, %v", answer.Status, text, err)
	}
}

// TestAgentServes: where the agent serves the page its link is printed, with the ways
// in, and the command ends.
func TestAgentServes(t *testing.T) {
	lan := api.WebDoor{Listen: "0.0.0.0:8470", Link: "https://192.168.1.10:8470/?key=abc", Fingerprint: "AB:CD", Made: true, Password: true, ProxyHeader: "X-Remote-User"}
	socket := clitest.Agent(t, clitest.Answers{"POST " + api.WebKeyRoute: lan})
	got := clitest.Type(t, New(), socket)
	for _, line := range []string{lan.Link + "\n", "once, for 12 hours", "The password lets in", "X-Remote-User", "AB:CD", "made the certificate itself"} {
		if got.Status != frame.Well || got.Err != "" || !strings.Contains(got.Out, line) {
			t.Errorf("%q is not said: %+v", line, got)
		}
	}
	if strings.Contains(got.Out, "ssh") {
		t.Errorf("a page on the LAN is said to need ssh: %s", got.Out)
	}
	var told api.WebDoor
	if got = clitest.Type(t, New(), socket, "--json"); json.Unmarshal([]byte(got.Out), &told) != nil || told != lan {
		t.Errorf("%+v", got)
	}
	loopback := api.WebDoor{Listen: "127.0.0.1:8470", Link: "http://127.0.0.1:8470/?key=abc"}
	if got = clitest.Type(t, New(), clitest.Agent(t, clitest.Answers{"POST " + api.WebKeyRoute: loopback})); !strings.Contains(got.Out, "ssh -L 8470:127.0.0.1:8470 ") {
		t.Errorf("%+v", got)
	}
	closed := api.WebDoor{Listen: "192.168.1.10:8470", Why: "address in use"}
	got = clitest.Type(t, New(), clitest.Agent(t, clitest.Answers{"POST " + api.WebKeyRoute: closed}))
	if got.Status != frame.Failed || got.Out != "" || !strings.Contains(got.Err, "--web-listen 192.168.1.10:8470: address in use; --listen 127.0.0.1:8470 has this command") {
		t.Errorf("%+v", got)
	}
}

// TestListen: the command opens nothing that others can reach.
func TestListen(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	for listen, want := range map[string]string{
		"0.0.0.0:8470": "others can reach that address; give for example 127.0.0.1:8470", "192.168.1.10:8470": "others can reach", "[::]:1": "others can reach",
		"localhost:8470": `--listen "localhost:8470": give an address of loopback and a port`, "8470": "give an address of loopback", "127.0.0.1": "give an address of loopback", "": "give an address",
	} {
		got := clitest.Type(t, New(), socket, "--listen", listen)
		if got.Status != frame.Misused || got.Out != "" || !strings.Contains(got.Err, want) {
			t.Errorf("--listen %q: %+v", listen, got)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	socket, _ = agent(t, api.WebDoor{}, http.NotFound)
	got := clitest.Type(t, New(), socket, "--listen", taken.Addr().String())
	if got.Status != frame.Failed || !strings.Contains(got.Err, "in use; give another port") {
		t.Errorf("%+v", got)
	}
}
