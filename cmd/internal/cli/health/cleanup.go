package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/datadir"
	"gvlan/driver/cleanup"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/route"
)

// NewCleanup is `gvlan cleanup`.
func NewCleanup() *cobra.Command {
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Take away what a stopped agent left on this host",
		Long: "Removes gvlan's links, routes and sockets from this host, whose agent is stopped for good: removing the\n" +
			"package does so by itself. Neither the store nor Docker is asked. Running containers keep their links and\n" +
			"addresses until they stop, and so does the VLAN link that such a link hangs from: it is named, with what\n" +
			"removes it then. What the agent remembers in its data directory stays, and an agent that is started again\n" +
			"makes what it needs.",
		Example: "  gvlan cleanup",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			own, err := ownSettings(c)
			if err != nil {
				return err
			}
			return cleanUp(c.Context(), own, c.OutOrStdout())
		},
	}
	config.AddAgentFlags(c.Flags(), "data-dir", "plugin-socket-dir", "driver-name", "route-protocol")
	return c
}

// cleanUp does it, while no agent can begin.
func cleanUp(ctx context.Context, c config.Config, out io.Writer) (failed error) {
	sockets := []string{filepath.Join(c.PluginSocketDir, c.PluginSocket()+".sock"), c.StatusSocket}
	for _, socket := range sockets { // of an agent whose data directory is another
		if answers(ctx, socket) {
			return fmt.Errorf("an agent answers at %s, and would make anew what is removed: systemctl stop gvlan first", socket)
		}
	}
	if _, err := os.Stat(c.DataDir); err == nil {
		dir, err := datadir.Open(c.DataDir)
		if _, held := errors.AsType[*datadir.HeldError](err); held {
			return fmt.Errorf("the agent runs, and would make anew what is removed: systemctl stop gvlan first (%w)", err)
		}
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, dir.Close()) }()
	}
	links, err := link.Open(link.Current, c.DriverName)
	if err != nil {
		return err
	}
	defer links.Close()
	routes, err := route.Open(link.Current, int(c.RouteProtocol))
	if err != nil {
		return err
	}
	defer routes.Close()
	cleaned, failed := cleanup.Clean(ctx, cleanup.Host{Links: links, Routes: routes, Elsewhere: netns.Others})
	for _, socket := range sockets {
		removed, err := removeSocket(socket)
		if removed {
			fmt.Fprintln(out, "removed socket", socket)
		}
		failed = errors.Join(failed, err)
	}
	return errors.Join(failed, printCleaned(out, cleaned))
}

// answers reports whether somebody listens at a socket.
func answers(ctx context.Context, socket string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// removeSocket removes what a killed agent left.
func removeSocket(path string) (removed bool, err error) {
	if at, err := os.Lstat(path); err != nil || at.Mode().Type() != fs.ModeSocket {
		return false, nil //nolint:nilerr // there is none
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("remove a socket that nobody answers at: %w", err)
	}
	return true, nil
}

// printCleaned says what went, and what stays with what removes it.
func printCleaned(out io.Writer, c cleanup.Cleaned) (failed error) {
	say := func(format string, args ...any) {
		if _, err := fmt.Fprintf(out, format+"\n", args...); err != nil {
			failed = err
		}
	}
	for _, r := range c.Routes {
		say("removed route %s", r)
	}
	for _, name := range c.Links {
		say("removed link %s", name)
	}
	for _, name := range c.Kept {
		say("kept link %s, which a running container or another link hangs from; once that has stopped: ip link del %s", name, name)
	}
	if len(c.Routes)+len(c.Links)+len(c.Kept) == 0 {
		say("no link and no route of gvlan is on this host")
	}
	return failed
}
