package docker_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// identity is where an agent has its cluster's keys.
const identity = "/var/lib/gvlan/identity"

// TestSecrets: the join secret, the old and the new one, the authority's key, the
// gossip's, and what the settings' files hold are in no log, in no process's
// arguments or environment, in nothing that anybody is answered or that is packed for
// a bug report, in no file that others can read, and not in the store but for the
// gossip's key, whatever hosts have done with them. Others can read no file.
func TestSecrets(t *testing.T) {
	t.Parallel()
	c := newBareCluster(t, options{hosts: lab.Same(3, lab.Docker28)})
	c.args = append(c.args, "--gossip", "on", "--log-level", "debug")
	h1, h2, h3 := c.Hosts[0], c.Hosts[1], c.Hosts[2]
	const start = "/root/start" // is older than every file that the agents write
	for i, h := range c.Hosts {
		if err := h.WriteFile(start, nil); err != nil {
			t.Fatal(err)
		}
		c.agents[i] = c.agent(h, append(c.args, c.settled(h)...)...)
		c.waitTrusted(h)
	}
	words := c.begin(h1)
	first := secretOf(t, words[2])

	// An argument is hidden by the time that anything is done with it.
	c.joinWatched(h2, first, "", append([]string{c.binary}, words...)...)
	c.joinWatched(h3, first, words[2], c.binary, "join", words[1], "--token-file", "-")
	c.waitMembers(c.Hosts, 3, 0)
	second := secretOf(t, c.joinWords(c.gvlan(h2, "token", "rotate"))[2])
	if first == second {
		t.Fatal("the secret was rotated and is the same")
	}
	for _, h := range c.Hosts {
		eventually(t, "the new secret on "+h.Name, func() error {
			if out, err := h.Exec(t.Context(), c.binary, "token", "show", "-q"); err != nil || !strings.HasSuffix(out, second) {
				return fmt.Errorf("it does not tell it (%w)", err)
			}
			return nil
		})
	}

	key := keyIn(t, must(os.ReadFile(h1.Path(identity+"/authority.pem")))(t))
	secrets := map[string][]byte{"the first secret": []byte(first), "the second secret": []byte(second)}
	for spelling, text := range key {
		secrets["the authority's key"+spelling] = text
	}
	for file, text := range settled {
		secrets["what "+file+" says"] = []byte(text)
	}
	if raw := must(os.ReadFile(h2.Path(identity + "/secret")))(t); len(holding(secrets, raw)) != 1 {
		t.Fatalf("where the secret is kept %d are found, want one: the test would see nothing", len(holding(secrets, raw)))
	}
	if raw := must(os.ReadFile(h2.Path(identity + "/authority.pem")))(t); len(holding(secrets, raw)) == 0 {
		t.Fatal("where the authority is kept its key is not found: the test would see nothing")
	}

	c.network(h1, "lan1", "--subnet", "10.167.0.0/24", "-o", "parent=eth1")
	c.run(h1, "lan1", "web")
	gossips := c.gossipsKeys(h1)
	if raw := must(os.ReadFile(h2.Path("/var/lib/gvlan/peers.json")))(t); len(holding(gossips, raw)) == 0 {
		t.Fatal("where the gossip's key is kept it is not found: the test would see nothing")
	}
	for _, h := range c.Hosts {
		for name, text := range c.toldTo(h) {
			if len(text) == 0 {
				t.Errorf("%s of %s is nothing: the test sees nothing", name, h.Name)
			}
			if found := append(holding(secrets, text), holding(gossips, text)...); len(found) > 0 {
				t.Errorf("%s of %s has %v", name, h.Name, found)
			}
		}
	}

	logs := must(filepath.Glob(filepath.Join(c.Dir, "log", "*")))(t)
	for _, path := range logs {
		c.holdsNone(secrets, path)
		c.holdsNone(gossips, path)
	}
	for _, h := range c.Hosts {
		for _, what := range []string{
			"find / /run /tmp /var/lib/gvlan /var/lib/docker -xdev -type f -cnewer " + start + " -perm /077 ! -path '/run/docker/netns/*'", // others can read
			"find /var/lib/gvlan/etcd -type f", // the store
		} {
			files := strings.Fields(h.MustExec(t, "sh", "-c", what))
			if len(files) == 0 && !strings.Contains(what, "-perm") {
				t.Errorf("%s on %s finds nothing", what, h.Name)
			}
			for _, path := range files {
				c.holdsNone(secrets, h.Path(path))
			}
		}
		// A folder of sockets may be looked into, and is all that may.
		made := h.MustExec(t, "sh", "-c", "find /var/lib/gvlan /run/gvlan/* /run/docker/plugins/* "+packed+" /root/backup")
		for _, want := range []string{"/var/lib/gvlan/journal.db", "/var/lib/gvlan/peers.json", "/var/lib/gvlan/etcd/member/snap/db", identity + "/node.key", "/run/gvlan/gvlan.sock", "/run/docker/plugins/gvlan.sock"} {
			if !slices.Contains(strings.Split(made, "\n"), want) {
				t.Errorf("on %s there is no %s among\n%s", h.Name, want, made)
			}
		}
		if open := h.MustExec(t, "sh", "-c", "find /var/lib/gvlan /run/gvlan/* /run/docker/plugins/* "+packed+" /root/backup -perm /077"); open != "" {
			t.Errorf("on %s others may do something with\n%s", h.Name, open)
		}
	}
	for _, what := range []string{"cmdline", "environ"} {
		for _, words := range ofProcesses(what) {
			if found := append(holding(secrets, words), holding(gossips, words)...); len(found) > 0 {
				t.Errorf("the %s of a process has %v", what, found)
			}
		}
	}
}

// settled are files that settings name, and the secret that each holds.
var settled = map[string]string{
	"/root/web-password": "hX7vQ2-page",
	"/root/tsig":         "c2VjcmV0LW9mLXRoZS16b25l",
	"/root/bgp":          "hX7vQ2-router",
}

// settled are settings of an agent that has a secret of every kind: nobody is at the
// other end of names and routes.
func (c *cluster) settled(h *lab.Host) []string {
	c.t.Helper()
	for path, text := range settled {
		if err := h.WriteFile(path, []byte(text+"\n")); err != nil {
			c.t.Fatal(err)
		}
		h.MustExec(c.t, "chmod", "600", path)
	}
	return []string{
		"--metrics-listen", "127.0.0.1:9470", "--web-listen", "0.0.0.0:8470", "--web-password-file", "/root/web-password",
		"--dns-update-server", "10.99.0.99:53", "--dns-update-zone", "lab.example", "--dns-update-key", "gvlan", "--dns-update-secret-file", "/root/tsig",
		"--bgp-as", "65001", "--bgp-peer", "10.99.0.99,65000,/root/bgp",
	}
}

// gossipsKeys are those that a host remembers, as bytes and as JSON spells them.
func (c *cluster) gossipsKeys(h *lab.Host) map[string][]byte {
	c.t.Helper()
	var kept struct{ Keys [][]byte }
	if err := json.Unmarshal(must(os.ReadFile(h.Path("/var/lib/gvlan/peers.json")))(c.t), &kept); err != nil || len(kept.Keys) == 0 {
		c.t.Fatalf("a host remembers %d keys of the gossip (%v)", len(kept.Keys), err)
	}
	all := map[string][]byte{}
	for i, key := range kept.Keys {
		all[fmt.Sprintf("gossip key %d", i)] = key
		all[fmt.Sprintf("gossip key %d in base64", i)] = []byte(base64.StdEncoding.EncodeToString(key))
	}
	return all
}

// packed is where a host packs what a bug report needs.
const packed = "/root/support.tar.gz"

// toldTo is all that a host tells: to Prometheus, as JSON, in a support archive, and
// by its engine.
func (c *cluster) toldTo(h *lab.Host) map[string][]byte {
	c.t.Helper()
	c.gvlan(h, "backup", "/root/backup")
	c.gvlan(h, "support", packed)
	told := map[string][]byte{
		"the support archive": []byte(h.MustExec(c.t, "tar", "-xzOf", packed)),
		"docker info":         []byte(h.MustDocker(c.t, "info")),
		"the networks":        []byte(h.MustDocker(c.t, "network", "inspect", "lan1")),
	}
	if h == c.Hosts[0] {
		told["a container"] = []byte(h.MustDocker(c.t, "inspect", "web"))
		told["the engine's events"] = []byte(h.MustDocker(c.t, "events", "--since", "1h", "--until", "0s"))
	}
	at := func(dial func(context.Context, string, string) (net.Conn, error)) func(string) []byte {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
		return func(url string) []byte {
			answer, err := client.Get(url)
			if err != nil {
				c.t.Fatal(err)
			}
			defer answer.Body.Close()
			return must(io.ReadAll(answer.Body))(c.t)
		}
	}
	told["/metrics"] = at(h.DialContext)("http://127.0.0.1:9470/metrics")
	site := at(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.Path("/run/gvlan/gvlan.sock"))
	})
	var described struct{ Paths map[string]json.RawMessage }
	if err := json.Unmarshal(site("http://gvlan/web/v1/openapi.json"), &described); err != nil || len(described.Paths) < 10 {
		c.t.Fatalf("%d answers are described (%v)", len(described.Paths), err)
	}
	for path := range described.Paths {
		if !strings.HasSuffix(path, "/follow") { // goes on
			told[path] = site("http://gvlan/web" + path)
		}
	}
	return told
}

// secretOf is the part of a token that only members and who joins know.
func secretOf(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, "-")
	if len(parts) != 3 || len(parts[2]) < 20 {
		t.Fatal("a token has not the form that this test knows")
	}
	return parts[2]
}

// keyIn are the bytes by which the private key in a PEM file is found: the key
// itself, and how PEM spells it.
func keyIn(t *testing.T, text []byte) map[string][]byte {
	t.Helper()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		const seed = 32 // of Ed25519, the end of its PKCS #8
		lines := bytes.Split(bytes.TrimSpace(pem.EncodeToMemory(block)), []byte("\n"))
		return map[string][]byte{"": block.Bytes[len(block.Bytes)-seed:], " in PEM": lines[1]}
	}
	t.Fatal("there is no private key where the authority is kept")
	return nil
}

// holding are the names of the secrets that are in a text.
func holding(secrets map[string][]byte, text []byte) (found []string) {
	for name, secret := range secrets {
		if bytes.Contains(text, secret) {
			found = append(found, name)
		}
	}
	return slices.Sorted(slices.Values(found))
}

// holdsNone: a file has no secret. One that is gone by now has none either.
func (c *cluster) holdsNone(secrets map[string][]byte, path string) {
	c.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		c.t.Error(err)
	}
	if found := holding(secrets, text); len(found) > 0 {
		c.t.Errorf("%s has %v", path, found)
	}
}

// joinWatched has a host join, as from a shell, and looks at all processes over
// and over while it does: from its first word on, or from the beginning where the
// token is given by standard input.
func (c *cluster) joinWatched(h *lab.Host, secret, input string, line ...string) {
	c.t.Helper()
	cmd := h.Command(c.t.Context(), "sh", "-s") // the lab's own command line shows no token
	cmd.Stdin = strings.NewReader("exec " + strings.Join(line, " ") + "\n")
	if input != "" {
		cmd = h.Command(c.t.Context(), line[0], line[1:]...)
		cmd.Stdin = strings.NewReader(input + "\n")
	}
	out := must(cmd.StdoutPipe())(c.t)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	if input == "" {
		if _, err := reader.ReadString('\n'); err != nil {
			c.t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, _ = io.Copy(io.Discard, reader)
		ended <- cmd.Wait()
	}()
	for {
		for _, line := range ofProcesses("cmdline") {
			if bytes.Contains(line, []byte(secret)) {
				c.t.Errorf("while %s joins the list of processes shows the secret: %q", h.Name, bytes.ReplaceAll(line, []byte(secret), []byte("(secret)")))
			}
		}
		select {
		case err := <-ended:
			if err != nil {
				c.t.Fatalf("%s cannot join: %v", h.Name, err)
			}
			return
		default:
		}
	}
}

// ofProcesses are the files of that name of all processes, as proc(5) has them.
func ofProcesses(name string) (all [][]byte) {
	paths, _ := filepath.Glob("/proc/[0-9]*/" + name)
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil { // one may have ended
			all = append(all, text)
		}
	}
	return all
}
