package docker_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"gvlan/cluster/store/authority"
	"gvlan/tests/lab"
)

// TestDoors: no listening socket of an agent that runs a member of the store does
// anything for who has no credential, or one that is worth nothing: a token that
// was rotated, the certificates of a host that was evicted, those of another
// cluster. The agent has every listener there is.
func TestDoors(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(2, lab.Docker28), args: []string{"--gossip", "on"}})
	h1, h2 := c.Hosts[0], c.Hosts[1]
	words := c.begin(h1)
	c.joinAtOnce(words, h2)
	c.waitMembers(c.Hosts, 1, 1)
	old := words[2]
	stolen := credentialsIn(t, h2.Path("/var/lib/gvlan/identity"))
	c.evicts(h1, h2, stolen[0])
	if c.gvlan(h1, "token", "rotate", "--json") == "" || c.gvlan(h1, "token", "show", "-q") == old {
		t.Fatal("after it was rotated the token is what it was")
	}

	var has doors
	want := []uint16{2379, 2380, 2381, 5354, 7947} // clients, peers, the door; names; gossip
	eventually(t, "every listener", func() error {
		has = doorsOf(t, h1)
		if diff := cmp.Diff(want, has.numbers()); diff != "" {
			return fmt.Errorf("the agent listens on these ports (-want +got):\n%s", diff)
		}
		return nil
	})
	shown := map[string]tls.Certificate{"no certificate": {}}
	for i, kind := range []string{"node's", "member's"} {
		shown["an evicted "+kind+" certificate"] = stolen[i]
		shown["another cluster's "+kind+" certificate"] = strangers(t)[i]
	}
	for _, at := range has.ports {
		knocks(t, h1, at, shown)
		if out, err := h1.Docker(t.Context(), "run", "--rm", "--network", "host", "busybox", "wget", "-q", "-O", "-", fmt.Sprintf("http://%s/version", at)); err == nil {
			t.Errorf("a container with the host's network is answered by %s: %s", at, out)
		}
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(old, "gvlan1-"), "-")
	atTheDoor(t, h1, shown, secret)
	for _, path := range has.sockets {
		const connect = `IO::Socket::UNIX->new(Peer => $ARGV[0]) and print "open"; print "$!"`
		out := h1.MustExec(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-MIO::Socket::UNIX", "-e", connect, path)
		if out != "Permission denied" {
			t.Errorf("another user opens %s: %s, want that permission is denied", path, out)
		}
	}
	if len(has.sockets) != 4 { // plugin, status, and two of etcd
		t.Errorf("the agent listens on the sockets %q, want four", has.sockets)
	}
}

// evictedWithin is how soon etcd refuses the certificate of a host that was
// evicted.
const evictedWithin = time.Minute

// evicts has a host be gone and evicted, while somebody holds a connection to the
// store with its certificate.
func (c *cluster) evicts(h1, h2 *lab.Host, stolen tls.Certificate) {
	c.t.Helper()
	thief := must(clientv3.New(clientv3.Config{
		Endpoints: []string{"https://10.99.0.1:2379"}, TLS: showing(stolen),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, at string) (net.Conn, error) {
			return c.Peer.DialContext(ctx, "tcp", at)
		})},
	}))(c.t)
	defer thief.Close()
	steals := func() error {
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		defer cancel()
		_, err := thief.Get(ctx, prefix, clientv3.WithPrefix())
		return err
	}
	if err := steals(); err != nil {
		c.t.Fatalf("the certificate of a host of the cluster: %v", err)
	}
	if err := c.agents[1].Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.waitState([]*lab.Host{h1}, h2.Name, down)
	c.gvlan(h1, "node", "evict", h2.Name)
	began := time.Now()
	eventually(c.t, "the certificate to be refused", func() error {
		if steals() == nil {
			return errors.New("it reads the store")
		}
		return nil
	})
	if took := time.Since(began); took > evictedWithin {
		c.t.Errorf("the certificate of an evicted host was refused after %s, want %s at most", took, evictedWithin)
	}
	c.waitMembers([]*lab.Host{h1}, 1, 0)
}

// credentialsIn are the certificates, a node's and a member's, of an identity.
func credentialsIn(t *testing.T, folder string) (found [2]tls.Certificate) {
	t.Helper()
	for i, name := range []string{"node", "member"} {
		base := filepath.Join(folder, name)
		found[i] = must(tls.LoadX509KeyPair(base+".crt", base+".key"))(t)
	}
	return found
}

// strangers are such as another cluster gives a host of the same name.
func strangers(t *testing.T) [2]tls.Certificate {
	t.Helper()
	root := must(authority.New(time.Now()))(t)
	folder := filepath.Join(t.TempDir(), "identity")
	id := must(authority.OpenIdentity(folder, "h1", time.Now))(t)
	node := must(root.Sign(must(id.Request(false))(t), authority.Subject{Node: "h1"}, time.Now()))(t)
	member := must(root.Sign(must(id.Request(true))(t), authority.Subject{Node: "h1", Member: true, Names: []string{"h1"}}, time.Now()))(t)
	if err := errors.Join(id.Accept(node.Raw, authority.CertificatePEM(root.Root())), id.AcceptMember(member.Raw)); err != nil {
		t.Fatal(err)
	}
	return credentialsIn(t, folder)
}

// showing presents a certificate, if there is one, whichever the server asks for.
func showing(cert tls.Certificate, protocols ...string) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, NextProtos: protocols, // who is asked does not matter here
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	}
}

// knocks says the beginnings of every protocol to a port, in clear and in TLS.
func knocks(t *testing.T, h *lab.Host, at netip.AddrPort, shown map[string]tls.Certificate) {
	t.Helper()
	const version = "GET /version HTTP/1.1\r\nHost: gvlan\r\n\r\n"
	said := map[string]func(net.Conn) ([]byte, error){"HTTP": sends(version), "gRPC": sends(preface)}
	for who, cert := range shown {
		for name, it := range map[string]struct{ protocol, text string }{"HTTP": {"http/1.1", version}, "gRPC": {"h2", preface}} {
			said[name+" in TLS with "+who] = func(conn net.Conn) ([]byte, error) {
				in := tls.Client(conn, showing(cert, it.protocol))
				if in.Handshake() != nil {
					return nil, nil
				}
				if _, err := in.Write([]byte(it.text)); err != nil {
					return nil, nil
				}
				answer, _ := io.ReadAll(in)
				return answer, nil
			}
		}
	}
	for name, knock := range said {
		conn, err := h.DialContext(t.Context(), "tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience)) // a guard, not a measure
		answer, err := knock(conn)
		if err != nil {
			t.Errorf("%s to %s: %v", name, at, err)
		}
		if !answersNothing(answer) {
			t.Errorf("%s to %s is answered: %q", name, at, answer)
		}
		_ = conn.Close()
	}
}

// answersNothing reports whether an answer is none: silence, an alert of TLS, or HTTP's
// word that there is nothing.
func answersNothing(answer []byte) bool {
	if len(answer) == 0 || bytes.HasPrefix(answer, []byte{21, 3}) {
		return true
	}
	said, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
	if err != nil {
		return false
	}
	defer said.Body.Close()
	return said.StatusCode >= http.StatusBadRequest && said.StatusCode < http.StatusInternalServerError
}

// atTheDoor asks everything that hosts ask at the door. With a secret that was
// rotated it says that it is wrong; with what is no certificate, that.
func atTheDoor(t *testing.T, h *lab.Host, shown map[string]tls.Certificate, secret string) {
	t.Helper()
	for who, cert := range shown {
		door := &http.Client{Timeout: patience, Transport: &http.Transport{
			TLSClientConfig: showing(cert), DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return h.DialContext(ctx, network, addr)
			},
		}}
		for route, wants := range map[string][]string{
			"POST /v1/join":    {"token"},
			"POST /v1/renew":   {"certificate", "revoked"},
			"POST /v1/custody": {"certificate", "revoked"},
			"POST /v1/member":  {"certificate", "revoked"},
			"GET /v1/members":  {"certificate", "revoked"},
		} {
			method, path, _ := strings.Cut(route, " ")
			body := fmt.Sprintf(`{"secret": %q, "node": "h9", "host": "h9", "csr": ""}`, secret)
			asked := must(http.NewRequestWithContext(t.Context(), method, "https://10.99.0.1:2381"+path, strings.NewReader(body)))(t)
			answer, err := door.Do(asked)
			if err != nil {
				t.Errorf("%s with %s: %v", route, who, err)
				continue
			}
			text := must(io.ReadAll(answer.Body))(t)
			_ = answer.Body.Close()
			var said struct{ Code string }
			if err := json.Unmarshal(text, &said); err != nil || !slices.Contains(wants, said.Code) || len(text) > len(`{"code":"certificate"}`)+1 {
				t.Errorf("%s with %s: %s %.60s, want nothing but one of %q", route, who, answer.Status, text, wants)
			}
		}
	}
}

// preface is how a gRPC client begins, with empty settings.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// sends says something, ends its half of the connection and returns all that
// comes back.
func sends(text string) func(net.Conn) ([]byte, error) {
	return func(conn net.Conn) ([]byte, error) {
		if _, err := conn.Write([]byte(text)); err != nil {
			return nil, nil // closed before it was read
		}
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		answer, err := io.ReadAll(conn)
		if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
			return answer, err
		}
		return answer, nil
	}
}

// doors are the stream sockets an agent listens on.
type doors struct {
	ports   []netip.AddrPort // where to reach them from the host itself
	sockets []string
}

// numbers are the ports, in order, each once.
func (d doors) numbers() (all []uint16) {
	for _, at := range d.ports {
		all = append(all, at.Port())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func doorsOf(t *testing.T, h *lab.Host) (found doors) {
	t.Helper()
	pid := strings.TrimSpace(h.MustExec(t, "cat", "/var/lib/gvlan/lock"))
	own := h.MustExec(t, "sh", "-c", "ls -l /proc/"+pid+"/fd || true") // one may be closed meanwhile
	const state, inode, listen = 3, 9, "0A"
	for _, table := range []string{"tcp", "tcp6"} {
		for line := range strings.Lines(h.MustExec(t, "cat", "/proc/"+pid+"/net/"+table)) {
			f := strings.Fields(line)
			if len(f) <= inode || f[state] != listen || !strings.Contains(own, "socket:["+f[inode]+"]") {
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			if err != nil {
				t.Fatal(err)
			}
			addr := localAddr(t, f[1])
			found.ports = append(found.ports, netip.AddrPortFrom(addr, uint16(port)))
		}
	}
	const flags, node, path = 3, 6, 7
	for line := range strings.Lines(h.MustExec(t, "cat", "/proc/"+pid+"/net/unix")) {
		f := strings.Fields(line)
		if len(f) > node && f[flags] == "00010000" && strings.Contains(own, "socket:["+f[node]+"]") {
			if len(f) <= path || f[path][0] != '/' {
				t.Fatalf("the agent listens on a socket without a file: %s", line)
			}
			found.sockets = append(found.sockets, f[path])
		}
	}
	return found
}

// localAddr reads an address of /proc/net/tcp: little-endian words.
func localAddr(t *testing.T, text string) netip.Addr {
	t.Helper()
	text, _, _ = strings.Cut(text, ":")
	var raw []byte
	for i := 0; i+8 <= len(text); i += 8 {
		for j := 6; j >= 0; j -= 2 {
			b, err := strconv.ParseUint(text[i+j:i+j+2], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, byte(b))
		}
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		t.Fatalf("%q is no address", text)
	}
	switch addr = addr.Unmap(); {
	case !addr.IsUnspecified():
		return addr
	case addr.Is4():
		return netip.MustParseAddr("127.0.0.1")
	}
	return netip.IPv6Loopback()
}

// TestParentFileTellsNothing: who may create networks may name any file. What
// is in it reaches neither Docker's errors nor the log nor what the host tells
// the cluster.
func TestParentFileTellsNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{hosts: lab.Same(1, lab.Docker28)})
	h := c.Hosts[0]
	for path, text := range map[string]string{
		"/root/shadow": "root:$6$s3cr3t:19000:0:99999:7:::\n",
		"/root/token":  "s3cr3t\n",
		"/root/toml":   "password = s3cr3t\n",
	} {
		if err := h.WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	create := func(name, path string) (string, error) {
		return h.Docker(t.Context(), "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.166.0.0/24", "-o", "parent-file="+path, name)
	}
	var said []string
	for _, path := range []string{"/root/shadow", "/root/toml", "/dev/null"} {
		out, err := create("lan", path)
		if err == nil {
			t.Errorf("a network with %s was created: %s", path, out)
		} else if said = append(said, err.Error()); !strings.Contains(err.Error(), "parent file "+path) {
			t.Errorf("%s: %v, want an error that names the file", path, err)
		}
	}
	if _, err := create("token", "/root/token"); err != nil {
		t.Fatal(err)
	}
	_, err := h.Docker(t.Context(), "run", "--rm", "--network", "token", "busybox", "true")
	if err == nil || !strings.Contains(err.Error(), "name 1 of the parent file (no such interface)") {
		t.Errorf("run: %v, want that the file's first name is no interface", err)
	}
	c.waitNetwork(h, "token")
	inspected, inspectErr := h.Exec(t.Context(), c.binary, "node", "inspect", h.Name)
	log := must(os.ReadFile(c.agents[0].Log))(t)
	records := must(c.store.Get(t.Context(), "/", clientv3.WithPrefix()))(t)
	said = append(said, fmt.Sprint(err), inspected, fmt.Sprint(inspectErr), string(log), fmt.Sprint(records.Kvs))
	for _, text := range said {
		if strings.Contains(text, "s3cr3t") || strings.Contains(text, "$6$") {
			t.Errorf("the file's content is in %q", text)
		}
	}
}
