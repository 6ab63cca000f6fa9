package stores

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cluster/store"
	"gvlan/cluster/store/backup"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
)

// NewBackup is `gvlan backup`.
func NewBackup() *cobra.Command {
	c := &cobra.Command{
		Use: "backup FILE", Short: "Write a copy of the store to a file, which must not be there yet", Args: cobra.ExactArgs(1),
		Long: "Writes all that the cluster's store knows, as one member has it, with a manifest: a tar that `gvlan restore`\n" +
			"reads, and whose snapshot.db etcdutl restores. Hosts that run a member take one a day by themselves and keep\n" +
			"seven in DATA-DIR/backups. The cluster's authority is not in it.",
		Example: `  gvlan backup /root/gvlan-today.tar
  gvlan backup --json /mnt/backups/gvlan.tar`,
	}
	return frame.Showing(c, func(c *cobra.Command, client *api.Client, args []string) (made api.Backup, err error) {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return made, fmt.Errorf("back up to %s: %w", args[0], err)
		}
		waiting := frame.Waiting(c, "the store to be copied to "+path)
		defer waiting.End()
		// Is there one to ask, before a file is begun?
		if err := client.Get(c.Context(), api.StatusRoute, new(json.RawMessage)); err != nil {
			return made, err
		}
		// The agent may write to its own folders only.
		var refused error
		err = backup.Receive(c.Context(), path, func(w io.Writer) error {
			made, refused = client.TakeBackup(c.Context(), w)
			return refused
		})
		made.Path = path
		return made, cmp.Or(refused, err)
	}, frame.Aged(printBackup))
}

func printBackup(out io.Writer, b api.Backup, now time.Time) error {
	terminal.InCells(&b)
	_, err := fmt.Fprintf(out, "%s: cluster %s at revision %d, %s, %s old, of node %s\n", b.Path, terminal.OrDash(b.Cluster), b.Revision, sizeOf(b.Size), terminal.OrDash(terminal.Since(b.Time, now)), b.Node)
	return err
}

// NewRestore is `gvlan restore`.
func NewRestore() *cobra.Command {
	var yes bool
	var wait time.Duration
	c := &cobra.Command{
		Use: "restore FILE", Short: "Go on with the store as it was in a backup", Args: cobra.ExactArgs(1),
		Long: "Makes a new store of the backup, with this host's member alone. Where this host keeps the cluster's authority\n" +
			"(it ran a member) the other hosts follow by themselves; else they join again. Nothing new is given until every\n" +
			"host has written again what it holds, and `gvlan recover` was run. Without --yes it only says what it would do.",
		Example: `  gvlan restore /root/gvlan-today.tar
  gvlan restore --yes /root/gvlan-today.tar`,
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return fmt.Errorf("restore %s: %w", args[0], err)
			}
			waiting := frame.Waiting(c, "this host to read "+path)
			var r api.Restored
			err = client.Send(c.Context(), http.MethodPost, api.RestoreRoute, api.RestoreFile{Path: path, Look: !yes}, &r)
			waiting.End()
			if err != nil {
				return err
			}
			if err := printRestore(c.OutOrStdout(), r, time.Now()); err != nil {
				return err
			}
			if !yes {
				return errors.New("nothing was done: add --yes to go on with this backup")
			}
			return awaitLife(c, client, wait, r.Begun)
		}),
	}
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	c.Flags().DurationVar(&wait, "wait", settleWait, "how long to wait for the store, as `5m`")
	config.AddAgentFlags(c.Flags())
	return c
}

// printRestore says what a restore loses at most.
func printRestore(out io.Writer, r api.Restored, now time.Time) error {
	terminal.InCells(&r)
	if err := printBackup(out, r.Backup, now); err != nil {
		return err
	}
	lost := "what was written since is lost, but for what running containers hold"
	switch {
	case r.Lost > 0:
		lost += fmt.Sprintf(": this host has seen %d changes since", r.Lost)
	case !r.Same:
		lost += "; it is of another cluster than the one this host knows"
	}
	others := "the other hosts follow by themselves"
	if !r.Keeps {
		others = "this host has not the cluster's authority and makes another: every other host has to leave and join again (gvlan token show, here)"
	}
	_, err := fmt.Fprintf(out, "%s\n%s\n", lost, others)
	return err
}

// newStoreRecover is `gvlan store recover`.
func newStoreRecover() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use: "recover", Short: "Go on with this host's copy of the store, when most members are lost for good", Args: cobra.NoArgs,
		Long: "Makes a new store of the copy that this host has as a member, voter or learner. Refused while the store\n" +
			"answers. The other hosts follow by themselves; members that come back with what they had set it aside.\n" +
			"Nothing new is given until every host has written again what it holds, and `gvlan recover` was run.",
		Example: `  gvlan store recover
  gvlan store recover --wait 5m`,
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, _ []string) error {
			out := c.OutOrStdout()
			waiting := frame.Waiting(c, "any other member of the store to answer")
			var begun api.StoreBegun
			err := client.Ask(c.Context(), http.MethodPost, api.StoreRecoverRoute, &begun)
			waiting.End()
			if err != nil {
				return err
			}
			when := "which this agent has not seen since it started"
			if !begun.Heard.IsZero() {
				when = terminal.OrDash(terminal.Since(begun.Heard, time.Now())) + " ago"
			}
			fmt.Fprintf(out, "no other member answers. Lost is at most what others wrote after the store last answered this host, %s\n", when)
			return awaitLife(c, client, wait, begun)
		}),
	}
	c.Flags().DurationVar(&wait, "wait", settleWait, "how long to wait for the store, as `5m`")
	config.AddAgentFlags(c.Flags())
	return c
}

// awaitLife waits until the store has begun the life that was asked for.
func awaitLife(c *cobra.Command, client *api.Client, wait time.Duration, begun api.StoreBegun) error {
	waiting := frame.Waiting(c, "this host's agent to begin anew with the new store")
	defer waiting.End()
	for end := time.Now().Add(wait); ; {
		var v api.StoreView
		err := client.Get(c.Context(), api.StoreRoute, &v)
		if err == nil && v.AsOf.IsZero() && v.Life >= begun.Life {
			return sayBegun(c.OutOrStdout(), v, begun)
		}
		if time.Now().After(end) || !store.Sleep(c.Context(), settledLook) {
			return fmt.Errorf("the new store does not answer yet (gvlan status says why): %w", errors.Join(err, context.Cause(c.Context())))
		}
	}
}

func sayBegun(out io.Writer, v api.StoreView, begun api.StoreBegun) error {
	fmt.Fprintf(out, "the store is there again, from revision %d on", v.From)
	if begun.Known > v.From {
		fmt.Fprintf(out, "; this host has seen revision %d", begun.Known)
	}
	_, err := fmt.Fprintln(out, "\nno new address is given yet: run `gvlan recover` on one host, which waits until each has written again what it holds")
	return err
}
