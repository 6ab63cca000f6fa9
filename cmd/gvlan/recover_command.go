package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

// newRecoverCommand is `gvlan recover`.
func newRecoverCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "recover",
		Short: "Accept an etcd that lost its past as the truth again",
		Long: "An agent that finds another etcd than the one it knew, or one restored from an older copy,\n" +
			"gives no new address: it writes the leases of its own containers back and waits. Once every\n" +
			"host's agent has run and said so in its log, run this on each host.\n\n" +
			"Also says that this host is the node of its name, where another install of gvlan had that name\n" +
			"before: this one then looks after what the store keeps of that node.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := statusClientOf(c)
			if err != nil {
				return err
			}
			var r recovered
			if err := client.ask(c.Context(), http.MethodPost, recoverRoute, &r); err != nil {
				return err
			}
			for _, conflict := range r.Conflicts {
				fmt.Fprintln(c.OutOrStdout(), "conflict: "+conflict)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "cluster %s is trusted again\n", r.Cluster)
			return err
		},
	}
	addAgentFlags(c.Flags())
	return c
}
