package firewall

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// legacyTable is what people call the filter table of iptables where it is not
// kept in nftables.
const legacyTable = "filter (iptables-legacy)"

// Legacy reads what iptables-legacy-save prints of the filter table. What it does
// not know of a rule is a condition that cannot be told.
func Legacy(family nftables.TableFamily, text string) []Chain {
	var chains []Chain
	named := func(name string) int {
		return slices.IndexFunc(chains, func(c Chain) bool { return c.Name == name })
	}
	lines := strings.Split(text, "\n")
	for _, line := range lines { // rules jump to chains that come later
		name, policy, ok := strings.Cut(strings.TrimPrefix(line, ":"), " ")
		if !ok || !strings.HasPrefix(line, ":") {
			continue
		}
		c := Chain{Family: family, Table: legacyTable, Name: name, Drops: strings.HasPrefix(policy, "DROP")}
		if name == "INPUT" {
			c.Hook, c.Priority = nftables.ChainHookInput, *nftables.ChainPriorityFilter
		}
		chains = append(chains, c)
	}
	for _, line := range lines {
		words := wordsOf(line)
		if len(words) < 2 || words[0] != "-A" || named(words[1]) < 0 {
			continue
		}
		c := &chains[named(words[1])]
		r := saved{isChain: func(name string) bool { return named(name) >= 0 }, sets: map[string]Set{}}
		r.read(words[2:])
		c.Rules = append(c.Rules, Rule{Handle: uint64(len(c.Rules) + 1), Exprs: append(r.conditions, r.verdict...), Sets: r.sets})
	}
	return chains
}

// wordsOf splits a line as a shell does; what is in quotes is one word.
func wordsOf(line string) (words []string) {
	var word strings.Builder
	quoted, begun := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

// saved is one rule as iptables-legacy-save prints it.
type saved struct {
	isChain    func(name string) bool
	sets       map[string]Set // that conditions look ports up in
	conditions []expr.Any
	verdict    []expr.Any
}

// read takes the words of a rule: options, each with its values.
func (r *saved) read(words []string) {
	for len(words) > 0 {
		invert := words[0] == "!"
		if invert {
			words = words[1:]
		}
		if len(words) == 0 {
			return
		}
		option := words[0]
		end := 1 + slices.IndexFunc(words[1:], func(w string) bool { return strings.HasPrefix(w, "-") || w == "!" })
		switch {
		case option == "--comment": // which may look like an option
			end = min(2, len(words))
		case end == 0:
			end = len(words)
		}
		values := words[1:end]
		words = words[end:]
		if option == "-j" || option == "-g" {
			r.target(option, values)
			return // what follows is the target's
		}
		r.condition(option, values, invert)
	}
}

// target is what a rule does.
func (r *saved) target(option string, values []string) {
	if len(values) == 0 {
		return
	}
	name, kind := values[0], expr.VerdictJump
	if option == "-g" {
		kind = expr.VerdictGoto
	}
	switch {
	case r.isChain(name):
		r.verdict = []expr.Any{&expr.Verdict{Kind: kind, Chain: name}}
	case name == "RETURN":
		r.verdict = []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
	default:
		r.verdict = []expr.Any{&expr.Target{Name: name}}
	}
}

// never is a condition that no packet meets, untold one that some may.
var (
	never  = []expr.Any{&expr.Immediate{Register: 1, Data: []byte{0}}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0}}}
	untold = []expr.Any{&expr.Exthdr{}}
)

// condition is one option of a rule's. One that is not known may be met or not.
func (r *saved) condition(option string, values []string, invert bool) {
	value := strings.Join(values, " ")
	op := expr.CmpOpEq
	if invert {
		op = expr.CmpOpNeq
	}
	conditions := untold
	switch option {
	case "-m", "--comment", "--limit", "--limit-burst": // what it loads is an option of its own
		conditions = nil
	case "-i":
		name, prefix := strings.CutSuffix(value, "+")
		raw := make([]byte, unix.IFNAMSIZ)
		copy(raw, name)
		if prefix {
			raw = raw[:len(name)]
		}
		conditions = []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: raw}}
	case "-o":
		conditions = always(invert) // what comes in leaves by no interface
	case "-p":
		if number, known := map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}[value]; known {
			conditions = []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte{number}}}
		} else {
			conditions = always(invert) // no other is asked for
		}
	case "-s", "-d":
		conditions = inPrefix(option, value, op)
	case "--dport", "--dports":
		conditions = r.ports(value, invert)
	case "--ctstate", "--state":
		conditions = always(slices.Contains(strings.Split(value, ","), "NEW") != invert)
	case "--tcp-flags":
		conditions = always(onlySYN(values) != invert)
	case "--dst-type":
		conditions = always(slices.Contains(strings.Split(value, ","), "LOCAL") != invert)
	}
	r.conditions = append(r.conditions, conditions...)
}

func always(met bool) []expr.Any {
	if met {
		return nil
	}
	return never
}

// inPrefix compares an address with a prefix.
func inPrefix(option, value string, op expr.CmpOp) []expr.Any {
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		return untold // a mask that is none of a prefix
	}
	size := prefix.Addr().BitLen() / 8
	mask := make([]byte, size)
	for bit := range prefix.Bits() {
		mask[bit/8] |= 0x80 >> (bit % 8)
	}
	offset := map[string]int{"-s 4": 12, "-d 4": 16, "-s 16": 8, "-d 16": 24}[option+" "+strconv.Itoa(size)]
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: uint32(offset), Len: uint32(size)},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: 1, Data: prefix.Masked().Addr().AsSlice()},
	}
}

// ports looks the destination's up in a list of ports and ranges.
func (r *saved) ports(list string, invert bool) []expr.Any {
	set := Set{Interval: true}
	for item := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(item, ":")
		if !isRange {
			high = low
		}
		from, err := strconv.ParseUint(low, 10, 16)
		to, bad := strconv.ParseUint(high, 10, 16)
		if err != nil || bad != nil {
			return untold
		}
		set.Elements = append(set.Elements, nftables.SetElement{
			Key: binary.BigEndian.AppendUint16(nil, uint16(from)), KeyEnd: binary.BigEndian.AppendUint16(nil, uint16(to)),
		})
	}
	name := strconv.Itoa(len(r.sets))
	r.sets[name] = set
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: name, Invert: invert},
	}
}

// onlySYN reports whether a first packet has the flags that are asked for: of
// those in the mask, these.
func onlySYN(flags []string) bool {
	if len(flags) != 2 {
		return false
	}
	want := "NONE"
	if slices.Contains(strings.Split(flags[0], ","), "SYN") {
		want = "SYN"
	}
	return flags[1] == want
}
