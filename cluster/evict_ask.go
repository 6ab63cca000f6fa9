package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"gvlan/cluster/store"
)

// Ask asks the LAN for endpoints by their addresses. It returns those that
// answer, and those it had no way to ask for.
type Ask func(context.Context, []store.Endpoint) (answering, unasked []store.Endpoint, err error)

// spare refuses a node that is there: whose agent is connected, or whose
// containers answer. They outlive their agent, and after the quarantine
// others would be given their addresses.
func (e *eviction) spare(ctx context.Context, ask Ask) error {
	if _, err := e.kv.Get(ctx, store.LiveKey(e.node)); !errors.Is(err, store.ErrNotFound) {
		return cmp.Or(err, errConnected())
	}
	if ask == nil {
		return nil
	}
	endpoints, err := e.endpoints(ctx)
	if err != nil {
		return err
	}
	answering, unasked, err := ask(ctx, endpoints)
	if err != nil {
		return fmt.Errorf("ask the LAN for its addresses: %w", err)
	}
	e.took.Unasked = len(unasked)
	if len(answering) > 0 {
		return fmt.Errorf("%w: %s: stop these containers first, or evict it with --force", ErrAnswering, list(answering))
	}
	return nil
}

func errConnected() error {
	return fmt.Errorf("%w: stop it first, or evict it with --force", ErrConnected)
}

func (e *eviction) endpoints(ctx context.Context) ([]store.Endpoint, error) {
	items, _, err := e.kv.List(ctx, store.NodeEndpointsSpan(e.node))
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	var all []store.Endpoint
	for _, it := range items {
		endpoint, err := store.Decode[store.Endpoint](it)
		if err != nil {
			return nil, err
		}
		all = append(all, endpoint)
	}
	return all, nil
}

// list names endpoints as people know them: container and address.
func list(endpoints []store.Endpoint) string {
	var all []string
	for _, e := range endpoints {
		address, _, _ := strings.Cut(cmp.Or(e.IPv4, e.IPv6), "/")
		all = append(all, fmt.Sprintf("%s (%s)", cmp.Or(e.Container.Name, e.Endpoint), address))
	}
	return strings.Join(all, ", ")
}
