package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// rule has the server pass on this host's own routes only, which is no router between
// its peers, and take routes inside of these prefixes only.
func rule(ctx context.Context, b *server.BgpServer, prefixes []netip.Prefix) error {
	outbound := &api.Policy{Name: "out", Statements: []*api.Statement{ownRoutes("out")}}
	inbound := &api.Policy{Name: "in", Statements: []*api.Statement{ownRoutes("in")}} // they come in, too
	for _, family := range []string{"ipv4", "ipv6"} {                                 // a set is of one family
		var within []*api.Prefix
		for _, p := range prefixes {
			if p.Addr().Is4() == (family == "ipv4") {
				within = append(within, &api.Prefix{IpPrefix: p.String(), MaskLengthMin: uint32(p.Bits()), MaskLengthMax: uint32(p.Addr().BitLen())})
			}
		}
		if within == nil {
			continue
		}
		set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: family, Prefixes: within}
		if err := b.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
			return fmt.Errorf("take routes inside of %s: %w", prefixes, err)
		}
		inbound.Statements = append(inbound.Statements, &api.Statement{
			Name:       "in-" + family,
			Conditions: &api.Conditions{PrefixSet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: family}},
			Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
		})
	}
	if err := assign(ctx, b, outbound, api.PolicyDirection_POLICY_DIRECTION_EXPORT); err != nil {
		return err
	}
	return assign(ctx, b, inbound, api.PolicyDirection_POLICY_DIRECTION_IMPORT)
}

// ownRoutes accepts what this host announces.
func ownRoutes(direction string) *api.Statement {
	return &api.Statement{
		Name:       "own-" + direction,
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
	}
}

// assign has a policy decide on all routes of a direction; what it does not accept is
// rejected.
func assign(ctx context.Context, b *server.BgpServer, p *api.Policy, direction api.PolicyDirection) error {
	if err := b.AddPolicy(ctx, &api.AddPolicyRequest{Policy: p}); err != nil {
		return fmt.Errorf("make the rule %s: %w", p.Name, err)
	}
	assignment := &api.PolicyAssignment{
		Name: "global", Direction: direction, Policies: []*api.Policy{{Name: p.Name}}, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}
	if err := b.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: assignment}); err != nil {
		return fmt.Errorf("follow the rule %s: %w", p.Name, err)
	}
	return nil
}

// inside reports whether a destination is within one of the prefixes.
func inside(prefixes []netip.Prefix, dst netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Bits() <= dst.Bits() && p.Contains(dst.Addr()) })
}
