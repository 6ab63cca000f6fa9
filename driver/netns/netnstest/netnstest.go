// Package netnstest makes network namespaces for tests and benchmarks. Nothing
// in the product makes one: Docker does.
package netnstest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
)

// New makes an empty namespace without a name. It has a loopback that is
// down, and goes away with Close when no process or socket is left in it.
func New() (*netns.Namespace, error) {
	home, err := netns.Current()
	if err != nil {
		return nil, err
	}
	defer home.Close()
	var made *netns.Namespace
	err = home.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		made, err = netns.Current()
		return err
	})
	return made, err
}
