package embedded

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

const (
	socketFile = "client.sock"
	// httpFile is the socket of etcd's HTTP endpoints, its measures and its
	// health, for tools of this host. Its name is the shorter one.
	httpFile = "http.sock"
	// socketPathMax is what sockaddr_un holds besides the closing zero.
	socketPathMax = 107
	dirMode       = 0o700
)

// door is the unix socket this host's own client comes in by. There is no
// login behind it: who may open it is said by the modes of the socket and of
// the folder it lies in, which is closed before the socket is there. A
// loopback port would be open to every user of the host and to every
// container without a network of its own.
type door struct {
	client, http string   // paths of the sockets
	dir          *os.File // open while the paths lead through it; nil when they do not
}

// newDoor makes the data directory, for its owner only, and says where in it
// the sockets will be.
func newDoor(dir string) (*door, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("make the data directory of the embedded etcd: %w", err)
	}
	if err := os.Chmod(dir, dirMode); err != nil {
		return nil, fmt.Errorf("close the data directory of the embedded etcd to other users: %w", err)
	}
	d := &door{client: filepath.Join(dir, socketFile), http: filepath.Join(dir, httpFile)}
	// etcd and gRPC read the path as part of an address, where these
	// characters mean something.
	if len(d.client) <= socketPathMax && !strings.ContainsAny(d.client, "%?#") {
		return d, nil
	}
	open, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the data directory of the embedded etcd: %w", err)
	}
	through := fmt.Sprintf("/proc/self/fd/%d/", open.Fd())
	d.dir, d.client, d.http = open, through+socketFile, through+httpFile
	return d, nil
}

// url is the address of a socket, for server and client in this process.
func (d *door) url(path string) *url.URL { return &url.URL{Scheme: "unix", Path: path} }

// forOwnerOnly closes the sockets themselves to others, once they are there.
func (d *door) forOwnerOnly() error {
	for _, path := range []string{d.client, d.http} {
		if err := os.Chmod(path, secretMode); err != nil {
			return fmt.Errorf("close a socket of the embedded etcd to other users: %w", err)
		}
	}
	return nil
}

func (d *door) close() error {
	if d.dir == nil {
		return nil
	}
	if err := d.dir.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close the data directory of the embedded etcd: %w", err)
	}
	return nil
}
