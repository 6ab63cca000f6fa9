// Package web is `gvlan web`.
package web

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/web/door"
)

// preset is where the command listens unless told otherwise.
const preset = "127.0.0.1:8470"

// New is `gvlan web`.
func New() *cobra.Command {
	var listen string
	var asJSON bool
	c := &cobra.Command{
		Use: "web", Short: "Open the page of the cluster: a link for a browser", Args: cobra.NoArgs,
		Long: "Prints a link that lets one browser in, once, for 12 hours.\n\n" +
			"Where the agent serves the page itself (--web-listen) that is all. Else the command serves it on this host's\n" +
			"loopback address until it is interrupted. From another machine:\n\n" +
			"  ssh -t -L 8470:127.0.0.1:8470 HOST sudo gvlan web",
		Example: "  gvlan web\n  gvlan web --listen 127.0.0.1:9000",
	}
	c.RunE = frame.WithAgent(func(c *cobra.Command, client *api.Client, _ []string) error {
		if err := checkListen(listen); err != nil {
			return err
		}
		told, err := frame.Answered(c, func() (told api.WebDoor, err error) {
			return told, client.Ask(c.Context(), http.MethodPost, api.WebKeyRoute, &told)
		})
		if err != nil {
			return err
		}
		print := printDoor
		if asJSON {
			print = func(out io.Writer, told api.WebDoor) error { return frame.PrintJSON(out, told) }
		}
		if told.Listen == "" || c.Flags().Changed("listen") {
			return serve(c, client, listen, print)
		}
		if told.Why != "" {
			return fmt.Errorf("the agent does not serve the page on --web-listen %s: %s; --listen %s has this command serve it", told.Listen, told.Why, preset)
		}
		return print(c.OutOrStdout(), told)
	})
	c.Flags().StringVar(&listen, "listen", preset, "loopback `ADDRESS:PORT` to serve the page on, until interrupted")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	config.AddAgentFlags(c.Flags())
	return c
}

// checkListen refuses an address that others could reach: what guards that is the
// agent's to have.
func checkListen(listen string) error {
	at, err := netip.ParseAddrPort(listen)
	switch {
	case err != nil:
		return frame.Misusef("--listen %q: give an address of loopback and a port, for example %s", listen, preset)
	case !at.Addr().Unmap().IsLoopback():
		return frame.Misusef("--listen %s: others can reach that address; give for example %s, or have the agent serve the page, with a password (--web-listen)", listen, preset)
	}
	return nil
}

// serve shows the agent's pages on loopback until the command is interrupted.
func serve(c *cobra.Command, client *api.Client, listen string, print func(io.Writer, api.WebDoor) error) error {
	ctx, end := context.WithCancel(c.Context())
	defer end()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("serve the page: %w; give another port, as --listen 127.0.0.1:8471", err)
	}
	defer listener.Close()
	listen = listener.Addr().String() // of a port 0
	command := c.CommandPath()
	if swarm := c.Flags().Lookup("swarm").Value.String(); swarm == "on" || swarm == "true" {
		command += " --swarm"
	}
	way, err := door.New(door.Config{
		Site: client.Pages(), Listen: listen, Command: command, Now: time.Now, Random: rand.Reader,
		Log: slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	link, err := way.Link(listen)
	if err != nil {
		return err
	}
	if err := print(c.OutOrStdout(), api.WebDoor{Listen: listen, Link: link}); err != nil {
		return err
	}
	fmt.Fprintln(c.ErrOrStderr(), "served until this command is interrupted (Ctrl-C)")
	return way.Serve(ctx, listener)
}

// printDoor prints a link, and what one has to know of it.
func printDoor(out io.Writer, d api.WebDoor) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nThe link lets one browser in, once, for 12 hours.\n", d.Link)
	if at, err := netip.ParseAddrPort(d.Listen); err == nil && at.Addr().Unmap().IsLoopback() {
		fmt.Fprintf(&b, "From another machine, first there: ssh -L %d:%s %s\n", at.Port(), at, sshHost(os.Getenv("SSH_CONNECTION")))
	}
	if d.Password {
		b.WriteString("The password lets in as well, with any user name.\n")
	}
	if d.ProxyHeader != "" {
		fmt.Fprintf(&b, "Requests of the reverse proxy are let in by their %s.\n", d.ProxyHeader)
	}
	if d.Made {
		fmt.Fprintf(&b, "The agent made the certificate itself: the browser warns. It is the right one if its SHA-256 fingerprint is\n  %s\n", d.Fingerprint)
	} else if d.Fingerprint != "" {
		fmt.Fprintf(&b, "The certificate's SHA-256 fingerprint is\n  %s\n", d.Fingerprint)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// sshHost is what to call this host in an ssh command: as whoever typed this came here
// (ssh(1), SSH_CONNECTION: client, its port, server, its port).
func sshHost(connection string) string {
	if words := strings.Fields(connection); len(words) == 4 {
		return words[2]
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "HOST"
}
