package health

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/terminal"
)

// NewStatus is `gvlan status`.
func NewStatus() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what this host's agent knows and waits for",
		Args:  cobra.NoArgs,
	}
	return frame.Showing(c, frame.At[api.Status](api.StatusRoute), frame.Aged(PrintStatus))
}

// PrintStatus shows the status to a person at that time.
func PrintStatus(out io.Writer, s api.Status, now time.Time) error {
	terminal.InCells(&s)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "node\t%s (host %s)\n", s.Node, s.Host)
	fmt.Fprintf(table, "agent\tgvlan %s, up %s\n", s.Version, now.Sub(s.Started).Round(time.Second))
	fmt.Fprintf(table, "cluster\t%s\n", clusterLine(s))
	fmt.Fprintf(table, "etcd\t%s\n", etcdLine(s.Etcd))
	fmt.Fprintf(table, "docker\t%s\n", engineLine(s.Engine))
	if s.Gossip != nil {
		fmt.Fprintf(table, "members\t%s\n", gossipLine(*s.Gossip))
	}
	if s.Defined.Made < s.Defined.Networks {
		fmt.Fprintf(table, "networks\t%s\n", definedLine(s.Defined))
	}
	fmt.Fprintf(table, "releases\t%s\n", releasesLine(s))
	if len(s.FailedStarts) > 0 {
		fmt.Fprintf(table, "not started\t%s: their start failed while etcd was away\n", strings.Join(s.FailedStarts, ", "))
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(table, "warning\t%s\n", w)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the status: %w", err)
	}
	return printNetworks(out, s.Networks)
}

func clusterLine(s api.Status) string {
	uuid := s.Cluster
	if uuid == "" {
		uuid = "not known yet"
	}
	if s.Solo {
		return uuid + ", solo: no other host shares its networks and addresses"
	}
	return uuid
}

func definedLine(d api.DefinedStatus) string {
	line := fmt.Sprintf("%d of %d defined are made on this host", d.Made, d.Networks)
	if d.Failed > 0 {
		line += fmt.Sprintf("; %d could not be made and are tried again", d.Failed)
	}
	return line
}

func releasesLine(s api.Status) string {
	if s.PendingReleases == 0 {
		return "none pending"
	}
	return fmt.Sprintf("%d pending, until etcd takes them", s.PendingReleases)
}

func etcdLine(e api.EtcdStatus) string {
	at := strings.Join(e.Endpoints, ", ")
	if e.Trusted {
		return "answers at " + at
	}
	return "no new addresses: " + e.Why + " (" + at + ")"
}

func engineLine(e api.EngineStatus) string {
	switch {
	case e.Why != "" && e.Version == "":
		return "does not answer: " + e.Why
	case e.Why != "":
		return e.Version + ", does not answer now: " + e.Why
	}
	return e.Version
}

func gossipLine(g api.GossipStatus) string {
	line := fmt.Sprintf("%d answer", g.Answering)
	if refused := g.RefusedKey + g.RefusedCluster + g.RefusedNode; refused > 0 {
		line += fmt.Sprintf("; refused: %d without the key, %d of other clusters, %d of unknown nodes", g.RefusedKey, g.RefusedCluster, g.RefusedNode)
	}
	if g.UDPBlocked > 0 {
		line += fmt.Sprintf("; UDP was blocked %d times where TCP was not", g.UDPBlocked)
	}
	if g.Flaps > 0 {
		line += fmt.Sprintf("; %d taken for dead came back", g.Flaps)
	}
	return line
}

func printNetworks(out io.Writer, networks []api.NetworkStatus) error {
	if len(networks) == 0 {
		_, err := fmt.Fprintln(out, "\nno networks on this host")
		return err
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NETWORK\tSCOPE\tSTATE\tPARENT\tSUBNETS\tENDPOINTS HERE")
	for _, n := range networks {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\n",
			terminal.OrDash(n.Name), n.Scope, n.State, terminal.OrDash(n.Parent), strings.Join(n.Subnets, ","), n.Endpoints)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the networks: %w", err)
	}
	return nil
}
