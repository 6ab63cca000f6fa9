package frame

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gvlan/cmd/internal/api"
)

// completionWait bounds what a shell waits for the agent: a person is typing.
const completionWait = time.Second

// Things names what a shell can complete a word to, as the agent knows it.
type Things func(context.Context, *api.Client) ([]cobra.Completion, error)

// Completes has a shell complete a command's arguments: the first to one of the
// first things, and so on; nil for an argument that is no thing. Without an
// agent, or when it is slow, there is nothing to choose from.
func Completes(c *cobra.Command, arguments ...Things) *cobra.Command {
	c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(arguments) || arguments[len(args)] == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return begunWith(c, arguments[len(args)], begun)
	}
	return c
}

// CompletesFlag does so for the value of a flag.
func CompletesFlag(c *cobra.Command, flag string, things Things) {
	CompletesBy(c, flag, func(c *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return begunWith(c, things, begun)
	})
}

// CompletesWords does so for a flag that takes one of some words.
func CompletesWords(c *cobra.Command, flag string, words ...cobra.Completion) {
	CompletesBy(c, flag, func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return startingWith(begun, slices.Clone(words)), cobra.ShellCompDirectiveNoFileComp
	})
}

// CompletesBy does so as complete says.
func CompletesBy(c *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // the command has no such flag, or has one twice
	}
}

// completesNoFiles has a shell offer files for what is a file, and for nothing else.
func completesNoFiles(c *cobra.Command) {
	if c.ValidArgsFunction == nil && len(c.ValidArgs) == 0 && !isFile(c.Use) {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		value, _ := pflag.UnquoteUsage(f)
		if _, has := c.GetFlagCompletionFunc(f.Name); !has && !isFile(value) {
			CompletesBy(c, f.Name, cobra.NoFileCompletions)
		}
	})
}

// isFile reports whether what stands for a value says that it is a file.
func isFile(value string) bool {
	return slices.ContainsFunc([]string{"FILE", "FOLDER", "PATH"}, func(word string) bool { return strings.Contains(value, word) })
}

// Known asks the agent of a command for things; none where it does not answer
// in time.
func Known(c *cobra.Command, things Things) []cobra.Completion {
	client, err := clientOf(c)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionWait)
	defer cancel()
	known, err := things(ctx, client)
	if err != nil {
		return nil
	}
	slices.Sort(known)
	return slices.Compact(known)
}

func begunWith(c *cobra.Command, things Things, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return startingWith(begun, Known(c, things)), cobra.ShellCompDirectiveNoFileComp
}

func startingWith(begun string, words []cobra.Completion) []cobra.Completion {
	return slices.DeleteFunc(words, func(w cobra.Completion) bool { return w == "" || !strings.HasPrefix(w, begun) })
}

// Networks are the names of networks.
func Networks(ctx context.Context, client *api.Client) (all []cobra.Completion, err error) {
	var views []api.NetworkView
	err = client.Get(ctx, api.Known(api.NetworksRoute), &views)
	for _, v := range views {
		all = append(all, v.Name)
	}
	return all, err
}

// Nodes are what people call the hosts.
func Nodes(ctx context.Context, client *api.Client) (all []cobra.Completion, err error) {
	var views []api.NodeView
	err = client.Get(ctx, api.Known(api.NodesRoute), &views)
	for _, v := range views {
		all = append(all, v.Called())
	}
	return all, err
}

// Interfaces are those of any host, which a network could hang from.
func Interfaces(ctx context.Context, client *api.Client) (all []cobra.Completion, err error) {
	var views []api.NodeView
	err = client.Get(ctx, api.Known(api.NodesRoute), &views)
	for _, v := range views {
		for _, i := range v.Interfaces {
			all = append(all, i.Name)
		}
	}
	return all, err
}

// Containers are the names of those on any network.
func Containers(ctx context.Context, client *api.Client) ([]cobra.Completion, error) {
	return endpoints(ctx, client, func(e api.EndpointView) []string { return []string{e.Container} })
}

// Addresses are those of containers, without the length of their subnet.
func Addresses(ctx context.Context, client *api.Client) ([]cobra.Completion, error) {
	return endpoints(ctx, client, func(e api.EndpointView) []string { return []string{bare(e.IPv4), bare(e.IPv6)} })
}

// Holders are names, addresses and MACs of containers.
func Holders(ctx context.Context, client *api.Client) ([]cobra.Completion, error) {
	return endpoints(ctx, client, func(e api.EndpointView) []string { return []string{e.Container, bare(e.IPv4), bare(e.IPv6), e.MAC} })
}

// Anything is what whois knows of by its name, address or MAC.
func Anything(ctx context.Context, client *api.Client) (all []cobra.Completion, err error) {
	for _, things := range []Things{Holders, Nodes, Networks} {
		some, failed := things(ctx, client)
		all, err = append(all, some...), errors.Join(err, failed)
	}
	return all, err
}

func bare(prefix string) string {
	address, _, _ := strings.Cut(prefix, "/")
	return address
}

func endpoints(ctx context.Context, client *api.Client, of func(api.EndpointView) []string) (all []cobra.Completion, err error) {
	var views []api.NetworkView
	err = client.Get(ctx, api.Known(api.NetworksRoute), &views)
	for _, v := range views {
		for _, h := range v.Hosts {
			for _, e := range h.Endpoints {
				all = append(all, of(e)...)
			}
		}
	}
	return all, err
}
