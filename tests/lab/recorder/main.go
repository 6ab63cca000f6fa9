// Command recorder is a Docker network and IPAM plugin that writes down everything
// Docker says to it. It does just enough for containers to run: addresses from memory
// and macvlan links. It never refuses on its own account but a taken --ip.
//
//	recorder -name recorder -trace FILE [-control FILE] [-scope local] [-parent eth1]
//
// The control file, when it exists, makes calls go wrong; see control.go.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

const pluginDir = "/run/docker/plugins"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "recorder:", err)
		os.Exit(1)
	}
}

func run() error {
	name := flag.String("name", "recorder", "plugin name, which names the socket")
	file := flag.String("trace", "", "file the trace is appended to")
	control := flag.String("control", "", "file that says which calls go wrong")
	scope := flag.String("scope", "local", "scope reported to Docker")
	parent := flag.String("parent", "eth1", "parent of links when a network names none")
	flag.Parse()
	trace, err := os.OpenFile(*file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open trace: %w", err)
	}
	defer trace.Close()
	network, err := newNetworks(*scope, *parent)
	if err != nil {
		return err
	}
	calls := map[string]call{"Plugin.Activate": activate}
	for method, c := range network.calls() {
		calls["NetworkDriver."+method] = c
	}
	for method, c := range newPools().calls() {
		calls["IpamDriver."+method] = c
	}
	listener, err := listen(filepath.Join(pluginDir, *name+".sock"))
	if err != nil {
		return err
	}
	return http.Serve(listener, &recorder{trace: trace, control: *control, calls: calls})
}

// listen takes the socket over from a recorder that was killed.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for Docker: %w", err)
	}
	return l, nil
}

func activate([]byte) (any, error) {
	return map[string][]string{"Implements": {"NetworkDriver", "IpamDriver"}}, nil
}
