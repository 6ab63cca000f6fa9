package firewall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ErrUnsupported is wrapped by Read where the kernel has no nftables.
var ErrUnsupported = errors.New("this kernel has no nftables")

// Ruleset is the packet filter of one network namespace, as far as it concerns
// packets to the host itself.
type Ruleset struct {
	Chains []Chain
}

// Chain is one chain with its rules. One that hangs from no hook is met only by
// a jump from another of its table.
type Chain struct {
	Family   nftables.TableFamily
	Table    string
	Name     string
	Hook     *nftables.ChainHook // nil: none
	Priority nftables.ChainPriority
	Drops    bool // its policy
	Rules    []Rule
}

// Rule is what one rule asks and does.
type Rule struct {
	Handle uint64 // as `nft -a list ruleset` shows it
	Exprs  []expr.Any
	Sets   map[string]Set // that its lookups ask, by name
}

// Set is a set or map of a table.
type Set struct {
	Interval bool
	Elements []nftables.SetElement
}

// Read lists the rules in the network namespace of the calling thread.
func Read() (Ruleset, error) {
	conn, err := nftables.New()
	if err != nil {
		return Ruleset{}, fmt.Errorf("read the firewall's rules: %w", unsupported(err))
	}
	chains, err := conn.ListChains()
	if err != nil {
		return Ruleset{}, fmt.Errorf("read the firewall's rules: %w", unsupported(err))
	}
	var found Ruleset
	sets := map[string]Set{}
	for _, c := range chains {
		if !slices.Contains([]nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet}, c.Table.Family) {
			continue
		}
		chain := Chain{Family: c.Table.Family, Table: c.Table.Name, Name: c.Name, Hook: c.Hooknum, Drops: c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop}
		if c.Priority != nil {
			chain.Priority = *c.Priority
		}
		if chain.Rules, err = readRules(conn, c, sets); err != nil {
			return Ruleset{}, fmt.Errorf("read the firewall's chain %s of table %s: %w", c.Name, c.Table.Name, err)
		}
		found.Chains = append(found.Chains, chain)
	}
	return found, nil
}

// readRules lists the rules of a chain, and, once for all, the sets they ask.
func readRules(conn *nftables.Conn, c *nftables.Chain, sets map[string]Set) ([]Rule, error) {
	found, err := conn.GetRules(c.Table, c)
	if err != nil {
		return nil, err
	}
	rules := make([]Rule, 0, len(found))
	for _, r := range found {
		rule := Rule{Handle: r.Handle, Exprs: r.Exprs}
		for _, e := range r.Exprs {
			lookup, ok := e.(*expr.Lookup)
			if !ok {
				continue
			}
			key := fmt.Sprintf("%d %s %s", c.Table.Family, c.Table.Name, lookup.SetName)
			set, known := sets[key]
			if !known {
				if set, err = readSet(conn, c.Table, lookup.SetName); err != nil {
					return nil, err
				}
				sets[key] = set
			}
			if rule.Sets == nil {
				rule.Sets = map[string]Set{}
			}
			rule.Sets[lookup.SetName] = set
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func readSet(conn *nftables.Conn, table *nftables.Table, name string) (Set, error) {
	set, err := conn.GetSetByName(table, name)
	if err != nil {
		return Set{}, err
	}
	elements, err := conn.GetSetElements(set)
	return Set{Interval: set.Interval, Elements: elements}, err
}

// unsupported marks the errors of a kernel without nftables.
func unsupported(err error) error {
	for _, missing := range []error{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.EINVAL} {
		if errors.Is(err, missing) {
			return fmt.Errorf("%w (%w)", ErrUnsupported, err)
		}
	}
	return err
}
