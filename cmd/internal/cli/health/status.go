// Package health is what tells an operator how a host and its cluster fare:
// status, events, audit, doctor and support.
package health

import (
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cluster"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/terminal"
)

// NewStatus is `gvlan status`.
func NewStatus() *cobra.Command {
	var whole bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say whether all is well, and show this host and its networks",
		Long: "Says first whether anything is wrong, each with its cure, then shows this host, its cluster, and how full its\n" +
			"networks are. Exit status 3 when something is wrong.",
		Example: "  gvlan status\n  gvlan status --cluster\n  gvlan status --json",
		Args:    cobra.NoArgs,
	}
	frame.Showing(c, frame.At[api.Status](api.StatusRoute), func(c *cobra.Command, _ *api.Client, s api.Status) error {
		print := PrintStatus
		if whole {
			print = printHosts
		}
		return print(c.OutOrStdout(), s, time.Now())
	})
	c.Flags().BoolVar(&whole, "cluster", false, "show every host, a line each")
	return c
}

// PrintStatus shows the status to a person at that time, the verdict first.
func PrintStatus(out io.Writer, s api.Status, now time.Time) error {
	terminal.InCells(&s)
	if err := printVerdict(out, s.Problems); err != nil {
		return err
	}
	about := terminal.Table{Plain: true, Rows: [][]string{
		{"host", fmt.Sprintf("%s, gvlan %s, up %s", s.Host, s.Version, terminal.Since(s.Started, now))},
		{"cluster", clusterLine(s, now)},
		{"store", storeLine(s)},
		{"docker", engineLine(s.Engine)},
	}}
	if s.Gossip != nil {
		about.Rows = append(about.Rows, []string{"gossip", gossipLine(*s.Gossip)})
	}
	if len(s.Parents) > 0 {
		about.Rows = append(about.Rows, []string{"parents", parentsLine(s.Parents)})
	}
	if s.Defined.Made < s.Defined.Networks {
		about.Rows = append(about.Rows, []string{"networks", definedLine(s.Defined)})
	}
	if s.PendingReleases > 0 {
		about.Rows = append(about.Rows, []string{"releases", fmt.Sprintf("%d wait until etcd takes them", s.PendingReleases)})
	}
	for _, hint := range s.Hints {
		about.Rows = append(about.Rows, []string{"hint", hint})
	}
	if err := about.Print(out); err != nil {
		return err
	}
	return printNetworks(out, s.Networks)
}

// printVerdict says whether all is well, and what is not, with its cure.
func printVerdict(out io.Writer, problems []api.Problem) error {
	switch len(problems) {
	case 0:
		_, err := fmt.Fprint(out, "healthy\n\n")
		return err
	case 1:
		fmt.Fprint(out, "1 problem:\n\n")
	default:
		fmt.Fprintf(out, "%d problems:\n\n", len(problems))
	}
	for _, p := range problems {
		lines := terminal.Table{Plain: true, Rows: [][]string{{"  -", p.What}}}
		if p.Cure != "" {
			lines.Rows = append(lines.Rows, []string{"", "cure: " + p.Cure})
		}
		if err := lines.Print(out); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}

// stopped reports whether a host is down on purpose.
func stopped(h api.HostStatus) bool { return h.Stopped && h.State == string(cluster.Down) }

// clusterLine names the hosts that are not ready.
func clusterLine(s api.Status, now time.Time) string {
	if s.Solo {
		return "solo: no other host shares its networks and addresses (gvlan init opens it to others)"
	}
	if s.Cluster == "" {
		return "not known yet"
	}
	var others []string
	for _, h := range s.Hosts {
		if h.State != string(cluster.Ready) {
			state := api.Word(h.State)
			if stopped(h) {
				state = "stopped"
			}
			line := h.Host + " " + state
			if since := terminal.Since(h.Since, now); since != "" {
				line += " for " + since
			}
			others = append(others, line)
		}
	}
	line := fmt.Sprintf("%d hosts", len(s.Hosts))
	if len(s.Hosts) == 1 {
		line = "1 host"
	}
	if len(others) == 0 {
		return line + ", all ready"
	}
	return line + ": " + strings.Join(others, ", ") + ", the others ready"
}

// storeLine says who keeps the store, or where it is.
func storeLine(s api.Status) string {
	var line string
	for i, m := range s.Store {
		if i > 0 {
			line += ", "
		}
		does := map[string]string{"leader": "leads", "voter": "votes", "learner": "keeps a copy"}[m.Role]
		if !m.Answers {
			does = "does not answer"
		}
		line += m.Host + " " + does
	}
	if line == "" {
		line = strings.Join(s.Etcd.Endpoints, ", ")
	}
	if s.Etcd.Trusted {
		return line
	}
	return "gives no new addresses; " + line
}

func parentsLine(parents []api.ParentStatus) string {
	var all []string
	for _, p := range parents {
		state := "up"
		if !p.Up {
			state = "down"
		}
		all = append(all, fmt.Sprintf("%s %s, mtu %d (%s)", p.Name, state, p.MTU, strings.Join(p.Networks, ", ")))
	}
	return strings.Join(all, "; ")
}

func definedLine(d api.DefinedStatus) string {
	line := fmt.Sprintf("%d of %d defined are made on this host", d.Made, d.Networks)
	if d.Failed > 0 {
		line += fmt.Sprintf("; %d could not be made and are tried again", d.Failed)
	}
	return line
}

func engineLine(e api.EngineStatus) string {
	switch {
	case e.Why != "" && e.Version == "":
		return "does not answer"
	case e.Why != "":
		return e.Version + ", does not answer now"
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
	table := terminal.Table{Heads: []string{"NETWORK", "SUBNET", "USED", "FREE", "NOT GIVEN", "PARENT", "HERE"}}
	for _, n := range networks {
		table.Rows = append(table.Rows, networkRows(n)...)
	}
	return table.Print(out)
}

// networkRows are one row a subnet. What rests is free: it is given when nothing
// else is.
func networkRows(n api.NetworkStatus) (rows [][]string) {
	name, parent, here := n.Name, n.Parent, strconv.Itoa(n.Endpoints)
	for _, subnet := range n.Subnets {
		row := []string{name, subnet, "", "", "", parent, here}
		for _, p := range n.Pools {
			if p.Subnet == subnet {
				row[2], row[3], row[4] = bar(p), amount(max(p.Free, p.Free+p.Resting)), notGiven(p)
			}
		}
		rows = append(rows, row)
		name, parent, here = "", "", ""
	}
	if len(rows) == 0 {
		rows = append(rows, []string{name, "", "", "", "", parent, here})
	}
	return rows
}

// notGiven is how many addresses are never given, outside the range or reserved;
// "" where the subnet is so large that nobody counted.
func notGiven(p api.PoolStatus) string {
	if subnet, err := netip.ParsePrefix(p.Subnet); err != nil || subnet.Addr().BitLen()-subnet.Bits() > 32 {
		return ""
	}
	return amount(p.Reserved)
}

// bar draws how much of what can be given is used.
func bar(p api.PoolStatus) string {
	const length = 10
	whole := float64(p.Used) + float64(p.Free) + float64(p.Resting)
	filled := 0
	if whole > 0 {
		filled = int(math.Ceil(float64(p.Used) / whole * length))
	}
	return strings.Repeat("#", filled) + strings.Repeat(".", length-filled) + " " + amount(p.Used)
}

// amount is a number of addresses; the largest number stands for all beyond it.
func amount(n uint64) string {
	switch {
	case n == math.MaxUint64:
		return "over 2^64"
	case n > 1<<32:
		return fmt.Sprintf("2^%.0f", math.Log2(float64(n)))
	}
	return strconv.FormatUint(n, 10)
}

// printHosts is `gvlan status --cluster`.
func printHosts(out io.Writer, s api.Status, now time.Time) error {
	terminal.InCells(&s)
	if err := printVerdict(out, s.Problems); err != nil {
		return err
	}
	roles := map[string]string{}
	for _, m := range s.Store {
		roles[m.Host] = m.Role
	}
	table := terminal.Table{Heads: []string{"NODE", "STATE", "FOR", "STORE"}}
	for _, h := range s.Hosts {
		state := api.Word(h.State)
		if stopped(h) {
			state += ", stopped"
		}
		table.Rows = append(table.Rows, []string{h.Host, state, terminal.Since(h.Since, now), roles[h.Host]})
	}
	return table.Print(out)
}
