package docker_test

import (
	"bufio"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// identity is where an agent has its cluster's keys.
const identity = "/var/lib/gvlan/identity"

// TestSecrets: the join secret, the old and the new one, and the authority's key
// are in no log, in no list of processes, in no file that others can read, and
// not in the store, whatever hosts have done with them.
func TestSecrets(t *testing.T) {
	t.Parallel()
	c := newBareCluster(t, options{hosts: lab.Same(3, lab.Docker28), args: []string{"--log-level", "debug"}})
	h1, h2, h3 := c.Hosts[0], c.Hosts[1], c.Hosts[2]
	const start = "/root/start" // is older than every file that the agents write
	for i, h := range c.Hosts {
		if err := h.WriteFile(start, nil); err != nil {
			t.Fatal(err)
		}
		c.agents[i] = c.agent(h, append(c.args, "--log-level", "debug")...)
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
	if raw := must(os.ReadFile(h2.Path(identity + "/secret")))(t); len(holding(secrets, raw)) != 1 {
		t.Fatalf("where the secret is kept %d are found, want one: the test would see nothing", len(holding(secrets, raw)))
	}
	if raw := must(os.ReadFile(h2.Path(identity + "/authority.pem")))(t); len(holding(secrets, raw)) == 0 {
		t.Fatal("where the authority is kept its key is not found: the test would see nothing")
	}

	logs := must(filepath.Glob(filepath.Join(c.Dir, "log", "*")))(t)
	for _, path := range logs {
		c.holdsNone(secrets, path)
	}
	for _, h := range c.Hosts {
		for _, what := range []string{
			"find / /run /tmp /var/lib/gvlan /var/lib/docker -xdev -type f -cnewer " + start + " -perm /077", // others can read
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
		if open := h.MustExec(t, "find", identity, "-perm", "/077"); open != "" {
			t.Errorf("on %s others may do something with %s", h.Name, open)
		}
	}
	for _, line := range commandLines() {
		if found := holding(secrets, line); len(found) > 0 {
			t.Errorf("the list of processes has %v: %q", found, line)
		}
	}
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
		for _, line := range commandLines() {
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

// commandLines are those of all processes.
func commandLines() (all [][]byte) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		if line, err := os.ReadFile(path); err == nil { // one may have ended
			all = append(all, line)
		}
	}
	return all
}
