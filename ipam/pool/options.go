package pool

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
)

// The names of --ipam-opt.
const (
	optSegment  = "segment"  // the layer-2 domain, default "default"
	optOverlap  = "overlap"  // "ok": the subnet may begin where another one does
	optExclude  = "exclude"  // addresses, a-b and prefixes never given, by comma
	optOrder    = "order"    // lowest, random or aged
	optCooldown = "cooldown" // how long an address rests between two containers
	optProbe    = "probe"    // on or off: whether the LAN is asked before an address is given
	optSticky   = "sticky"   // how long what a container had is kept for its return
	optBlock    = "block"    // in which blocks hosts are dealt the addresses of a network that routes
)

// DefaultSegment is the layer-2 domain of a network that names none.
const DefaultSegment = "default"

// Docker's own options. They come with --ipam-opt in swarm, and with every
// request for an address.
const (
	dockerPrefix   = "com.docker.network."
	RequestType    = "RequestAddressType"
	RequestGateway = "com.docker.network.gateway"
	EndpointName   = "com.docker.network.endpoint.name"
	EndpointMAC    = "com.docker.network.endpoint.macaddress"
)

// Order says which of the free addresses is given.
type Order string

const (
	// Lowest keeps a lone stop and start at its address, without memory.
	Lowest Order = "lowest"
	// Random is any of the free ones.
	Random Order = "random"
	// Aged is the one that has been free for the longest, so that none is given
	// again before all others were.
	Aged Order = "aged"
)

// Options is --ipam-opt, read.
type Options struct {
	Segment   string
	OverlapOK bool
	Order     Order
	Exclude   []addrset.Interval
	Cooldown  time.Duration // see CooldownUnder
	sticky    sticky        // see KeepsStopped
	Probe     bool          // the LAN is asked before an address is given
	block     block         // see BlockIn
}

// ParseOptions refuses what it does not know, naming the nearest name it
// does; Docker's own options pass.
func ParseOptions(given map[string]string) (Options, error) {
	o := Options{Segment: DefaultSegment, Order: Lowest, Probe: true}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if strings.HasPrefix(name, dockerPrefix) || name == RequestType {
			continue
		}
		if err := o.set(name, given[name]); err != nil {
			return Options{}, err
		}
	}
	return o, nil
}

func (o *Options) set(name, value string) (err error) {
	switch name {
	case optSegment:
		o.Segment = value
		return checkSegment(value)
	case optOverlap:
		o.OverlapOK = value == "ok"
		if !o.OverlapOK {
			return fmt.Errorf("--ipam-opt overlap=%s: give overlap=ok, or leave it out", value)
		}
		return nil
	case optExclude:
		o.Exclude, err = ParseExcludes(Excludes(value))
		if err != nil {
			return fmt.Errorf("--ipam-opt exclude: %w", err)
		}
		return nil
	case optOrder:
		o.Order = Order(value)
		if o.Order != Lowest && o.Order != Random && o.Order != Aged {
			return fmt.Errorf("--ipam-opt order=%s: give order=lowest, order=random or order=aged", value)
		}
		return nil
	case optSticky:
		o.sticky, err = parseSticky(value)
		if err != nil {
			return fmt.Errorf("--ipam-opt %w", err)
		}
		return nil
	case optCooldown:
		o.Cooldown, err = ParseCooldown(value)
		if err != nil {
			return fmt.Errorf("--ipam-opt %w", err)
		}
		return nil
	case optProbe:
		return o.setProbe(value)
	case optBlock:
		o.block, err = parseBlock(value)
		if err != nil {
			return fmt.Errorf("--ipam-opt %w", err)
		}
		return nil
	}
	known := OptionNames()
	if near := Nearest(name, known); near != "" {
		return fmt.Errorf("--ipam-opt %s is not known: did you mean %s?", name, near)
	}
	return fmt.Errorf("--ipam-opt %s is not known: the options are %s", name, strings.Join(known, ", "))
}

func (o *Options) setProbe(value string) error {
	o.Probe = value == "on"
	if !o.Probe && value != "off" {
		return fmt.Errorf("--ipam-opt probe=%s: give probe=on or probe=off", value)
	}
	return nil
}

// BlockIn is the length of the blocks that a subnet is dealt out in, so that the
// addresses of each are mostly one host's and one route leads to them; false: in
// none. Only a network that routes (ipvlan l3, l3s) has any: as block= says, where
// the subnet is larger than one, else of 64 addresses, where it has four of them.
func (o Options) BlockIn(subnet netip.Prefix, routed bool) (bits int, ok bool) {
	return o.block.in(subnet, routed)
}

// OptionNames are the names of --ipam-opt.
func OptionNames() []string {
	return []string{optSegment, optOverlap, optExclude, optOrder, optCooldown, optSticky, optProbe, optBlock}
}

// Excluding is what the option excludes, and what was excluded besides since. With
// an error, which is of the latter, it is what the option does.
func (o Options) Excluding(more []string) ([]addrset.Interval, error) {
	spans, err := ParseExcludes(more)
	return slices.Concat(o.Exclude, spans), err
}

// ParseExcludes reads addresses, ranges a-b and prefixes.
func ParseExcludes(items []string) ([]addrset.Interval, error) {
	var spans []addrset.Interval
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
	_, err := ParseExcludes(items)
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
		inside := slices.ContainsFunc(pools, func(p store.Pool) bool { return s.Overlaps(addrset.Of(p.Subnet)) })
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

func parseExclude(item string) (addrset.Interval, bool) {
	if p, err := netip.ParsePrefix(item); err == nil {
		return addrset.Of(p), true
	}
	from, to, isRange := strings.Cut(item, "-")
	first, err := netip.ParseAddr(from)
	if err != nil || first.Zone() != "" {
		return addrset.Interval{}, false
	}
	if !isRange {
		return addrset.Single(first), true
	}
	last, err := netip.ParseAddr(to)
	if err != nil || last.BitLen() != first.BitLen() || last.Less(first) || last.Zone() != "" {
		return addrset.Interval{}, false
	}
	return addrset.Between(first, last), true
}
