package stores

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/cli/health"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/secretfile"
	"gvlan/cmd/internal/terminal"
)

// settleWait is how long init, join and leave wait for the agent to stand on its
// new store.
const settleWait = 2 * time.Minute

// settledLook is how often they look.
const settledLook = 200 * time.Millisecond

// NewInit is `gvlan init`.
func NewInit() *cobra.Command {
	var listen string
	var wait time.Duration
	c := &cobra.Command{
		Use:   "init",
		Short: "Open this host's store, so that other hosts can join it",
		Long: "Makes the cluster's authority and a join secret, and serves the store of this host, with TLS both ways, to\n" +
			"the hosts that join. Networks and containers of this host stay. Prints the line other hosts join with.",
		Example: `  gvlan init
  gvlan init --listen 192.168.1.10`,
		Args: cobra.NoArgs,
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, _ []string) error {
			waiting := frame.Waiting(c, "this host to make its authority and its certificates")
			defer waiting.End()
			if err := client.Send(c.Context(), http.MethodPost, api.StoreInitRoute, api.StoreInit{Listen: listen}, &struct{}{}); err != nil {
				return err
			}
			waiting.For("this host's agent to serve its store to others")
			s, err := settled(c, client, wait, func(s api.Status) bool { return !s.Solo })
			if err != nil {
				return err
			}
			line, err := joinLine(c.Context(), client, wait)
			waiting.End()
			if err != nil {
				return err
			}
			if err := health.PrintStatus(c.OutOrStdout(), s, time.Now()); err != nil {
				return err
			}
			return sayJoinLine(c.OutOrStdout(), line)
		}),
	}
	c.Flags().StringVar(&listen, "listen", "", "serve at `HOST[:PORT]` of this host; default is the address others reach it by, and port 2379. The two ports after it are used as well")
	c.Flags().DurationVar(&wait, "wait", settleWait, "how long to wait for the store, as `5m`")
	config.AddAgentFlags(c.Flags())
	return c
}

// NewJoin is `gvlan join`.
func NewJoin() *cobra.Command {
	var tokenFile string
	var discard, bring bool
	var wait time.Duration
	c := &cobra.Command{
		Use:   "join HOST[:PORT] [TOKEN]",
		Short: "Join the cluster that a host is of",
		Long: "Brings this host, whose agent is solo so far, into the cluster of another. TOKEN is what `gvlan token show`\n" +
			"prints on a host that runs a member of the store. Containers that are not on gvlan's networks are not touched.",
		Example: `  gvlan join 192.168.1.10 gvlan1-...
  gvlan join 192.168.1.10 --token-file /root/token
  gvlan join 192.168.1.10 --import --token-file -`,
		Args: cobra.RangeArgs(1, 2),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			token, err := tokenOf(c.InOrStdin(), args[1:], tokenFile)
			if err != nil {
				return err
			}
			waiting := frame.Waiting(c, args[0]+" to let this host in")
			defer waiting.End()
			asked := api.StoreJoin{Address: args[0], Token: token, Import: bring, Discard: discard}
			if err := client.Send(c.Context(), http.MethodPost, api.StoreJoinRoute, asked, &struct{}{}); err != nil {
				return err
			}
			waiting.For("this host's agent to begin anew with the cluster's store")
			s, err := settled(c, client, wait, func(s api.Status) bool { return !s.Solo })
			waiting.End()
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "this host is of the cluster of %s\n\n", args[0])
			return health.PrintStatus(c.OutOrStdout(), s, time.Now())
		}),
	}
	c.Flags().StringVar(&tokenFile, "token-file", "", "read the token from `FILE`, - for standard input, so that no list of processes shows it")
	c.Flags().BoolVar(&bring, "import", false, "bring the networks that this host has of its own along, with the addresses of their containers")
	c.Flags().BoolVar(&discard, "discard", false, "take down the networks that this host has of its own")
	c.MarkFlagsMutuallyExclusive("import", "discard")
	c.Flags().DurationVar(&wait, "wait", settleWait, "how long to wait for the store, as `5m`")
	config.AddAgentFlags(c.Flags())
	return c
}

// tokenOf reads the token from where it was given. An argument is taken out of
// the list of processes.
func tokenOf(in io.Reader, args []string, file string) (string, error) {
	switch {
	case len(args) > 0 && file != "":
		return "", frame.Misusef("TOKEN and --token-file are given: give one")
	case len(args) > 0:
		token := strings.Clone(args[0])
		terminal.HideArgument(args[0])
		return token, nil
	case file == "":
		return "", frame.Misusef("no token is given: gvlan join HOST TOKEN, or --token-file FILE; `gvlan token show` on a host that runs a member prints it")
	}
	var raw []byte
	var err error
	if file == "-" {
		raw, err = io.ReadAll(io.LimitReader(in, 4096))
	} else {
		raw, err = secretfile.Read(file)
	}
	if err != nil {
		return "", fmt.Errorf("read --token-file: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// NewLeave is `gvlan leave`.
func NewLeave() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "leave",
		Short: "Take this host out of its cluster",
		Long: "Hands this host's place in the store over to another host, takes the cluster's networks off this host and\n" +
			"makes it solo again. Refused while containers of this host, running or stopped, are on gvlan's networks.\n" +
			"What its settings say to join or to begin with (--join, --etcd-listen) counts again once they say something else.",
		Example: `  gvlan leave
  gvlan leave --wait 5m`,
		Args: cobra.NoArgs,
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, _ []string) error {
			waiting := frame.Waiting(c, "what this host has of the cluster to be handed over")
			defer waiting.End()
			ctx, cancel := context.WithTimeout(c.Context(), wait)
			defer cancel()
			var left api.StoreLeft
			if err := client.Ask(ctx, http.MethodPost, api.StoreLeaveRoute, &left); err != nil {
				return err
			}
			waiting.For("this host's agent to begin anew")
			s, err := settled(c, client, wait, func(s api.Status) bool { return s.Solo })
			waiting.End()
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "this host is out of the cluster")
			if len(left.Unfollowed) > 0 {
				fmt.Fprintf(c.OutOrStdout(), "%s of its settings will not bring it back, until they or the token say something else: gvlan join or gvlan init does\n", strings.Join(left.Unfollowed, " and "))
			}
			fmt.Fprintln(c.OutOrStdout())
			return health.PrintStatus(c.OutOrStdout(), s, time.Now())
		}),
	}
	c.Flags().DurationVar(&wait, "wait", settleWait, "how long to wait, as `5m`")
	config.AddAgentFlags(c.Flags())
	return c
}

// personWait is how long an agent may wait for a person before that is said: it
// may find out by itself yet that it is the node of its name.
const personWait = 6 * time.Second

// settled waits until the agent has begun anew and would give addresses. It does
// not wait out what only a person can end.
func settled(c *cobra.Command, client *api.Client, wait time.Duration, there func(api.Status) bool) (api.Status, error) {
	end := time.Now().Add(wait)
	var asks time.Time // since when it waits for a person; zero: it does not
	for {
		var s api.Status
		err := client.Get(c.Context(), api.StatusRoute, &s)
		if err == nil && there(s) && s.Etcd.Trusted {
			return s, nil
		}
		switch {
		case err != nil || !there(s) || !s.Etcd.Asks:
			asks = time.Time{}
		case asks.IsZero():
			asks = time.Now()
		}
		if !asks.IsZero() && time.Since(asks) > personWait || time.Now().After(end) || !store.Sleep(c.Context(), settledLook) {
			if err == nil {
				err = errors.New(cmp.Or(s.Etcd.Why, "it still uses the store it had"))
			}
			return s, fmt.Errorf("the agent is not ready yet (gvlan status says when it is): %w", err)
		}
	}
}

// NewToken is `gvlan token`.
func NewToken() *cobra.Command {
	var quiet bool
	show := &cobra.Command{
		Use: "show", Short: "Print the line other hosts join with", Args: cobra.NoArgs,
		Long: "Hosts that run a member of the store know it.",
		Example: `  gvlan token show
  gvlan token show -q | install -m 600 /dev/stdin /root/token`,
	}
	frame.Showing(show, frame.At[api.JoinLine](api.TokenRoute), func(c *cobra.Command, _ *api.Client, line api.JoinLine) error {
		if quiet {
			_, err := fmt.Fprintln(c.OutOrStdout(), line.Token)
			return err
		}
		return sayJoinLine(c.OutOrStdout(), line)
	})
	show.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the token only")
	rotate := &cobra.Command{
		Use: "rotate", Short: "Make a new join secret: the old one joins nobody any more", Args: cobra.NoArgs,
		Long:    "Hosts that have joined notice nothing.",
		Example: "  gvlan token rotate",
	}
	frame.Showing(rotate, func(c *cobra.Command, client *api.Client, _ []string) (line api.JoinLine, err error) {
		err = client.Ask(c.Context(), http.MethodPost, api.TokenRotateRoute, &line)
		return line, err
	}, func(c *cobra.Command, _ *api.Client, line api.JoinLine) error {
		return sayJoinLine(c.OutOrStdout(), line)
	})
	return frame.Group("token", "What other hosts join this cluster with", show, rotate)
}

// NewAuthority is `gvlan ca`.
func NewAuthority() *cobra.Command {
	show := func(c *cobra.Command, _ *api.Client, r api.AuthorityRotation) error {
		return printRotation(c.OutOrStdout(), r)
	}
	status := &cobra.Command{
		Use: "status", Short: "Say how far a change of the authority is, and for whom it waits", Args: cobra.NoArgs,
		Long:    "Where a change is under way, it names the hosts it waits for.",
		Example: "  gvlan ca status",
	}
	frame.Showing(status, frame.At[api.AuthorityRotation](api.CAStateRoute), show)
	rotate := &cobra.Command{
		Use: "rotate", Short: "Replace the authority", Args: cobra.NoArgs,
		Long: "Makes a new authority. Both count until every host has a certificate of the new one, which hosts see to by\n" +
			"themselves; hosts that are away are waited for until their certificates end, or they are evicted.",
		Example: "  gvlan ca rotate",
	}
	frame.Showing(rotate, func(c *cobra.Command, client *api.Client, _ []string) (r api.AuthorityRotation, err error) {
		err = client.Ask(c.Context(), http.MethodPost, api.CARotateRoute, &r)
		return r, err
	}, show)
	return frame.Group("ca", "The authority that certificates of this cluster come from", status, rotate)
}

func printRotation(out io.Writer, r api.AuthorityRotation) error {
	terminal.InCells(&r)
	waiting := "nobody"
	if len(r.Waiting) > 0 {
		waiting = strings.Join(r.Waiting, ", ")
	}
	line := "the authority is being replaced (" + r.Stage + "): waiting for " + waiting
	switch r.Stage { // of package join, where the names are
	case "settled":
		line = "the authority is settled: no change is under way"
	case "spreading":
		line = "the authority is being replaced: hosts are told the new one, waiting for " + waiting
	case "replacing":
		line = "the authority is being replaced: hosts get certificates of the new one, waiting for " + waiting
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

// joinLine waits until the store has what others join with.
func joinLine(ctx context.Context, client *api.Client, wait time.Duration) (line api.JoinLine, err error) {
	for end := time.Now().Add(wait); ; {
		err := client.Get(ctx, api.TokenRoute, &line)
		if err == nil || time.Now().After(end) || !store.Sleep(ctx, settledLook) {
			return line, err
		}
	}
}

func sayJoinLine(out io.Writer, line api.JoinLine) error {
	address := line.Address
	if host, port, err := net.SplitHostPort(address); err == nil && port == "2379" && !strings.Contains(host, ":") {
		address = host
	}
	_, err := fmt.Fprintf(out, "\nother hosts join this cluster with:\n\n    gvlan join %s %s\n\n", address, line.Token)
	return err
}
