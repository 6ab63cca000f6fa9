package firewall

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Packet is the first packet of a connection to this host.
type Packet struct {
	Interface string // it comes in by
	Index     int    // of that interface
	From, To  netip.Addr
	Protocol  byte // IPPROTO_TCP or IPPROTO_UDP
	Port      uint16
}

// Verdict is what becomes of a packet.
type Verdict struct {
	Dropped bool
	// Certain: no rule before the one that drops it was one whose condition
	// cannot be told from outside.
	Certain bool
	By      string // the chain or rule that drops it, for people
}

// Judge walks a packet through the rules. Where nothing drops it, it is Certain
// too: what may be dropped by a rule that cannot be told is taken to pass.
func (r Ruleset) Judge(p Packet) Verdict {
	certain := true
	for _, hook := range []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookInput} {
		for _, c := range r.from(*hook, p) {
			w := walk{rules: r, packet: p, table: c}
			end := w.chain(c, 0)
			certain = certain && !w.maybe
			switch {
			case end == dropped:
				return Verdict{Dropped: true, Certain: certain, By: w.by}
			case end != accepted && c.Drops:
				return Verdict{Dropped: true, Certain: certain, By: fmt.Sprintf("the policy of chain %s in table %s %s", c.Name, familyName(c.Family), c.Table)}
			}
		}
	}
	return Verdict{Certain: true}
}

// from lists the chains that a packet of that family meets at a hook, in their
// order.
func (r Ruleset) from(hook nftables.ChainHook, p Packet) []Chain {
	family := nftables.TableFamilyIPv4
	if p.To.Is6() {
		family = nftables.TableFamilyIPv6
	}
	met := slices.DeleteFunc(slices.Clone(r.Chains), func(c Chain) bool {
		return c.Hook == nil || *c.Hook != hook || c.Family != family && c.Family != nftables.TableFamilyINet
	})
	slices.SortStableFunc(met, func(a, b Chain) int { return int(a.Priority) - int(b.Priority) })
	return met
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return "inet"
}

// ending is how a packet leaves a chain.
type ending int

const (
	fellThrough ending = iota // at its end, or by a return
	accepted
	dropped
)

// deepest is how far the kernel follows jumps (NFT_JUMP_STACK_SIZE).
const deepest = 16

// walk is one packet on its way through a table.
type walk struct {
	rules  Ruleset
	packet Packet
	table  Chain // any of the table's
	maybe  bool  // a rule that would have let it by may match or not
	by     string
}

// chain runs the rules of a chain.
func (w *walk) chain(c Chain, depth int) ending {
	if depth >= deepest {
		return fellThrough
	}
	for _, rule := range c.Rules {
		m := newMatcher(w.packet, rule.Sets)
		verdict, sure := m.run(rule.Exprs)
		if verdict == nil {
			continue
		}
		end, leaves := w.follow(*verdict, depth)
		switch {
		case !sure:
			w.maybe, w.by = w.maybe || end == accepted || leaves && end == fellThrough, ""
		case end == dropped:
			if w.by == "" {
				w.by = fmt.Sprintf("rule %d of chain %s in table %s %s", rule.Handle, c.Name, familyName(c.Family), c.Table)
			}
			return dropped
		case end == accepted || leaves:
			return end
		}
	}
	return fellThrough
}

// follow is where a verdict leads, and whether it leaves the chain it is in even
// if it decides nothing.
func (w *walk) follow(v expr.Verdict, depth int) (end ending, leaves bool) {
	switch v.Kind {
	case expr.VerdictDrop:
		return dropped, true
	case expr.VerdictAccept, expr.VerdictStolen, expr.VerdictQueue, expr.VerdictStop:
		return accepted, true
	case expr.VerdictReturn:
		return fellThrough, true
	case expr.VerdictJump, expr.VerdictGoto:
		for _, c := range w.rules.Chains {
			if c.Family == w.table.Family && c.Table == w.table.Table && c.Name == v.Chain {
				return w.chain(c, depth+1), v.Kind == expr.VerdictGoto
			}
		}
	}
	return fellThrough, false
}
