package option

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/driver/visible"
	"gvlan/ipam/pool"
	"gvlan/parentfile"
)

// ErrFixed is wrapped when a change is of a part that a definition keeps for
// ever.
var ErrFixed = errors.New("cannot be changed")

// Set applies one change of `network set` to a definition's overrides:
// parent=LIST, exclude=ITEM,... (also += and -=), range+=CIDR and range-=CIDR,
// cooldown=TIME, host-access=on|off. The error wraps ErrInvalid or ErrFixed, or is parentfile's.
func Set(n *store.Network, change string) error {
	if err := CheckChange(change); err != nil {
		return err
	}
	key, value, _ := strings.Cut(change, "=")
	add, remove := strings.HasSuffix(key, "+"), strings.HasSuffix(key, "-")
	switch strings.TrimRight(key, "+-") {
	case "parent":
		n.Overrides.Parent = &value
		return nil
	case "exclude":
		return setExclude(n, value, add, remove)
	case "range":
		return setRange(n, value, add, remove)
	case "host-access":
		return setHostAccess(n, value)
	}
	return setCooldown(n, value)
}

// CheckChange refuses what no network could be changed by: its error is Set's.
func CheckChange(change string) error {
	given, value, ok := strings.Cut(change, "=")
	if !ok {
		return fmt.Errorf("%w: %s: want KEY=VALUE", ErrInvalid, visible.Word(change))
	}
	if slices.ContainsFunc(Changes(), func(o Described) bool { return o.Name == given }) {
		return checkValue(strings.TrimRight(given, "+-"), value)
	}
	switch key := strings.TrimRight(given, "+-"); key {
	case "parent":
		return fmt.Errorf("%w: a parent list is replaced as a whole: parent=LIST", ErrInvalid)
	case "range":
		return fmt.Errorf("%w: the range Docker was told stays: add to it with range+=CIDR", ErrInvalid)
	case "cooldown":
		return fmt.Errorf("%w: a cooldown is replaced: cooldown=TIME", ErrInvalid)
	case "host-access":
		return fmt.Errorf("%w: host access is on or off: host-access=on", ErrInvalid)
	default:
		if keptAsMade(key) {
			return fmt.Errorf("%w: a network keeps %s as it was made: make another one", ErrFixed, key)
		}
		if near := pool.Nearest(key, changeNames()); near != "" {
			return fmt.Errorf("%w: %s is unknown: did you mean %s?", ErrInvalid, visible.Word(key), near)
		}
		return fmt.Errorf("%w: %s is unknown: what can be set is parent=, exclude= (also += and -=), range+= and range-=, cooldown=, host-access=", ErrInvalid, visible.Word(key))
	}
}

// keptAsMade reports whether something is told when a network is made, and never
// changed.
func keptAsMade(key string) bool {
	named := func(o Described) bool { return o.Name == key }
	if key == "parent-file" {
		return false // parent= stands before it
	}
	return key == "subnet" || key == "internal" || slices.ContainsFunc(Network(), named) || slices.ContainsFunc(IPAM(), named)
}

// checkValue refuses what is no value of a change, whatever the network.
func checkValue(key, value string) (err error) {
	switch key {
	case "parent":
		list, err := parentfile.Parse(value)
		if err == nil && list.Empty() {
			err = parentfile.ErrEmpty
		}
		return err
	case "exclude":
		return pool.CheckExclude(pool.Excludes(value))
	case "range":
		if _, err = netip.ParsePrefix(value); err != nil {
			return fmt.Errorf("%w: range %q is no CIDR, as 192.168.1.64/26", ErrInvalid, value)
		}
	case "host-access":
		_, err = parseHostAccess(value)
		return err
	default: // cooldown
		if _, err = pool.ParseCooldown(value); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return nil
}

// changeNames are what can be changed, without the sign that adds or takes away.
func changeNames() []string {
	var all []string
	for _, o := range Changes() {
		all = append(all, strings.TrimRight(o.Name, "+-"))
	}
	return slices.Compact(all)
}

func setExclude(n *store.Network, value string, add, remove bool) error {
	items := pool.Excludes(value)
	if !remove {
		if err := pool.CheckExcludeWithin(items, n.Created.Pools); err != nil {
			return err
		}
	}
	if remove {
		for _, item := range items {
			if !slices.Contains(n.Overrides.Exclude, item) {
				return notThere("exclude", item, n.Overrides.Exclude)
			}
		}
	}
	n.Overrides.Exclude = combine(n.Overrides.Exclude, items, add, remove)
	return nil
}

func setRange(n *store.Network, value string, add, remove bool) error {
	r, err := netip.ParsePrefix(value)
	if err != nil {
		return fmt.Errorf("%w: range %q is no CIDR", ErrInvalid, value)
	}
	inside := slices.ContainsFunc(n.Created.Pools, func(p store.Pool) bool {
		return p.Subnet.Contains(r.Addr()) && r.Bits() >= p.Subnet.Bits()
	})
	if !inside {
		return fmt.Errorf("%w: range %s lies in no subnet of the network", ErrInvalid, r)
	}
	r = r.Masked()
	if remove && !slices.Contains(n.Overrides.Ranges, r) {
		return notThere("range", r.String(), n.Overrides.Ranges)
	}
	n.Overrides.Ranges = combine(n.Overrides.Ranges, []netip.Prefix{r}, add, remove)
	return nil
}

// notThere refuses to take away what was not set: an item is taken away as it was
// given, and what the network was made with stays.
func notThere[T any](key, item string, have []T) error {
	if len(have) == 0 {
		return fmt.Errorf("%w: %s-=%s: nothing was added to the network's with %s+=", ErrInvalid, key, visible.Word(item), key)
	}
	var all []string
	for _, h := range have {
		all = append(all, fmt.Sprint(h))
	}
	return fmt.Errorf("%w: %s-=%s is not among those that can be taken away: %s", ErrInvalid, key, visible.Word(item), strings.Join(all, ", "))
}

func setCooldown(n *store.Network, value string) error {
	d, err := pool.ParseCooldown(value)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	n.Overrides.Cooldown = d.String() // also "0s": it wins over the network's option
	return nil
}

// combine replaces a list, adds to it or takes from it.
func combine[T comparable](have, items []T, add, remove bool) []T {
	switch {
	case remove:
		return slices.DeleteFunc(slices.Clone(have), func(h T) bool { return slices.Contains(items, h) })
	case add:
		for _, item := range items {
			if !slices.Contains(have, item) {
				have = append(have, item)
			}
		}
		return have
	}
	return items
}
