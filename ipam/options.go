package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
)

// The names of --ipam-opt.
const (
	optSegment = "segment" // the layer-2 domain, default "default"
	optOverlap = "overlap" // "ok": the subnet may begin where another one does
	optExclude = "exclude" // addresses, a-b and prefixes never given, by comma
	optOrder   = "order"   // lowest or random
)

// DefaultSegment is the layer-2 domain of a network that names none.
const DefaultSegment = "default"

// Docker's own options. They come with --ipam-opt in swarm, and with every
// request for an address.
const (
	dockerPrefix   = "com.docker.network."
	requestType    = "RequestAddressType"
	requestGateway = "com.docker.network.gateway"
	endpointName   = "com.docker.network.endpoint.name"
	endpointMAC    = "com.docker.network.endpoint.macaddress"
)

// order says which of the free addresses is given.
type order string

const (
	// lowest keeps a lone stop and start at its address, without memory.
	lowest order = "lowest"
	random order = "random"
)

// options is --ipam-opt, read.
type options struct {
	segment   string
	overlapOK bool
	order     order
	exclude   []span
}

// parseOptions refuses what it does not know, naming the nearest name it
// does; Docker's own options pass.
func parseOptions(given map[string]string) (options, error) {
	o := options{segment: DefaultSegment, order: lowest}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if strings.HasPrefix(name, dockerPrefix) || name == requestType {
			continue
		}
		if err := o.set(name, given[name]); err != nil {
			return options{}, err
		}
	}
	return o, nil
}

func (o *options) set(name, value string) (err error) {
	switch name {
	case optSegment:
		o.segment = value
		return checkSegment(value)
	case optOverlap:
		o.overlapOK = value == "ok"
		if !o.overlapOK {
			return fmt.Errorf("--ipam-opt overlap=%s: give overlap=ok, or leave it out", value)
		}
		return nil
	case optExclude:
		o.exclude, err = parseExcludes(Excludes(value))
		if err != nil {
			return fmt.Errorf("--ipam-opt exclude: %w", err)
		}
		return nil
	case optOrder:
		o.order = order(value)
		if o.order != lowest && o.order != random {
			return fmt.Errorf("--ipam-opt order=%s: give order=lowest or order=random", value)
		}
		return nil
	}
	known := []string{optSegment, optOverlap, optExclude, optOrder}
	if near := Nearest(name, known); near != "" {
		return fmt.Errorf("--ipam-opt %s is not known: did you mean %s?", name, near)
	}
	return fmt.Errorf("--ipam-opt %s is not known: the options are %s", name, strings.Join(known, ", "))
}

// parseExcludes reads addresses, ranges a-b and prefixes.
func parseExcludes(items []string) ([]span, error) {
	var spans []span
	for _, item := range items {
		s, ok := parseExclude(item)
		if !ok {
			return nil, fmt.Errorf("%q is neither an address, a range like 10.0.0.1-10.0.0.9 nor a prefix", item)
		}
		spans = append(spans, s)
	}
	return spans, nil
}

// Excludes splits the value of exclude= at commas and spaces.
func Excludes(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}

// CheckExclude refuses what exclude= cannot mean: anything but addresses,
// ranges a-b and prefixes.
func CheckExclude(items []string) error {
	_, err := parseExcludes(items)
	return err
}

// CheckExcludeWithin refuses items that a network of these pools has no
// address of: they are mistyped, or meant for another network. Items that
// CheckExclude refuses are left to it.
func CheckExcludeWithin(items []string, pools []store.Pool) error {
	var subnets []string
	for _, p := range pools {
		subnets = append(subnets, p.Subnet.String())
	}
	for _, item := range items {
		s, ok := parseExclude(item)
		inside := slices.ContainsFunc(pools, func(p store.Pool) bool { return s.overlaps(spanOf(p.Subnet)) })
		if ok && !inside {
			return fmt.Errorf("exclude=%s lies in no subnet of the network: those are %s", item, strings.Join(subnets, ", "))
		}
	}
	return nil
}

// CheckExclude refuses --ipam-opt exclude= outside every pool. It is asked
// when all of a network's pools are known: each is requested alone.
func (a Addressing) CheckExclude() error {
	if err := CheckExcludeWithin(Excludes(a.Options[optExclude]), a.Pools); err != nil {
		return fmt.Errorf("--ipam-opt %w", err)
	}
	return nil
}

func parseExclude(item string) (span, bool) {
	if p, err := netip.ParsePrefix(item); err == nil {
		return spanOf(p), true
	}
	from, to, isRange := strings.Cut(item, "-")
	first, err := netip.ParseAddr(from)
	if err != nil || first.Zone() != "" {
		return span{}, false
	}
	if !isRange {
		return single(first), true
	}
	last, err := netip.ParseAddr(to)
	if err != nil || last.BitLen() != first.BitLen() || last.Less(first) || last.Zone() != "" {
		return span{}, false
	}
	return span{numberOf(first), numberOf(last)}, true
}
