package docker_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/tests/lab"
)

// TestDoors: no listening socket of an agent does anything for who has no
// credential: another user of the host, a container with the host's network,
// the LAN. The agent has every listener there is: the embedded etcd for
// itself and for others, both sockets, gossip, names.
func TestDoors(t *testing.T) {
	t.Parallel()
	c := newBareCluster(t, options{hosts: lab.Same(1, lab.Docker28)})
	h := c.Hosts[0]
	c.agents[0] = c.agent(h, append(c.args, "--etcd-listen", "0.0.0.0:2379", "--gossip", "on")...)
	c.waitTrusted(h)
	var has doors
	eventually(t, "every listener", func() error {
		has = doorsOf(t, h)
		if len(has.ports) < 3 || len(has.sockets) < 2 { // etcd, gossip, names; plugin, status
			return fmt.Errorf("the agent listens on %v, want at least three ports and two sockets", has)
		}
		return nil
	})
	for _, at := range has.ports {
		for name, knock := range map[string]func(net.Conn) ([]byte, error){
			"etcd's HTTP": sends("GET /version HTTP/1.1\r\nHost: gvlan\r\n\r\n"),
			"gRPC":        sends(preface),
			"gRPC in TLS without a certificate": func(conn net.Conn) ([]byte, error) {
				in := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
				if in.Handshake() != nil {
					return nil, nil
				}
				if _, err := in.Write([]byte(preface)); err != nil {
					return nil, nil
				}
				answer, _ := io.ReadAll(in)
				return answer, nil
			},
		} {
			conn, err := h.DialContext(t.Context(), "tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(patience)) // a guard, not a measure
			answer, err := knock(conn)
			if err != nil {
				t.Errorf("%s to %s: %v", name, at, err)
			}
			if alert := bytes.HasPrefix(answer, []byte{21, 3}); len(answer) > 0 && !alert {
				t.Errorf("%s to %s is answered: %q", name, at, answer)
			}
			_ = conn.Close()
		}
		if out, err := h.Docker(t.Context(), "run", "--rm", "--network", "host", "busybox", "wget", "-q", "-O", "-", fmt.Sprintf("http://%s/version", at)); err == nil {
			t.Errorf("a container with the host's network is answered by %s: %s", at, out)
		}
	}
	for _, path := range has.sockets {
		const connect = `IO::Socket::UNIX->new(Peer => $ARGV[0]) and print "open"; print "$!"`
		out := h.MustExec(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-MIO::Socket::UNIX", "-e", connect, path)
		if out != "Permission denied" {
			t.Errorf("another user opens %s: %s, want that permission is denied", path, out)
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
