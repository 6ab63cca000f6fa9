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
	path string
	dir  *os.File // open while path leads through it; nil when it does not
}

// newDoor makes the data directory, for its owner only, and says where in it
// the socket will be.
func newDoor(dir string) (*door, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("make the data directory of the embedded etcd: %w", err)
	}
	if err := os.Chmod(dir, dirMode); err != nil {
		return nil, fmt.Errorf("close the data directory of the embedded etcd to other users: %w", err)
	}
	d := &door{path: filepath.Join(dir, socketFile)}
	// etcd and gRPC read the path as part of an address, where these
	// characters mean something.
	if len(d.path) <= socketPathMax && !strings.ContainsAny(d.path, "%?#") {
		return d, nil
	}
	open, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the data directory of the embedded etcd: %w", err)
	}
	d.dir, d.path = open, fmt.Sprintf("/proc/self/fd/%d/%s", open.Fd(), socketFile)
	return d, nil
}

// url is the address of the socket, for server and client in this process.
func (d *door) url() *url.URL { return &url.URL{Scheme: "unix", Path: d.path} }

// forOwnerOnly closes the socket itself to others, once it is there.
func (d *door) forOwnerOnly() error {
	if err := os.Chmod(d.path, secretMode); err != nil {
		return fmt.Errorf("close the socket of the embedded etcd to other users: %w", err)
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
