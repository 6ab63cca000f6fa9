// Package socket opens Unix sockets that only their own user can connect to.
package socket

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// mode of a socket's file: connecting takes the right to write, unix(7).
const mode = 0o600

// Listen opens a socket at a path that nothing is at. The kernel gives the file the
// mode that the socket has when it is bound, so there is no moment at which others
// can connect, whatever the umask is.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var changed error
		err := raw.Control(func(fd uintptr) { changed = syscall.Fchmod(int(fd), mode) })
		return errors.Join(err, changed)
	}}
	return config.Listen(ctx, "unix", path)
}
