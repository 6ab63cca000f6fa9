package firewall

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// tri is an answer that may not be known.
type tri int

const (
	no tri = iota
	yes
	unknown
)

func triOf(is bool) tri {
	if is {
		return yes
	}
	return no
}

// field is a value in a register, or bytes of a header, of which some may not be
// known.
type field struct {
	raw   []byte
	known []bool
}

func knownField(raw []byte) field {
	return field{raw: raw, known: slices.Repeat([]bool{true}, len(raw))}
}

// part gives n bytes from an offset; what is beyond is not known.
func (f field) part(offset, n int) field {
	p := field{raw: make([]byte, n), known: make([]bool, n)}
	if offset < len(f.raw) {
		copy(p.raw, f.raw[offset:])
		copy(p.known, f.known[offset:])
	}
	return p
}

// sure reports whether all of it is known.
func (f field) sure() bool { return !slices.Contains(f.known, false) }

// matcher runs the expressions of one rule.
type matcher struct {
	packet    Packet
	sets      map[string]Set
	network   field
	transport field
	registers field
}

// registerBytes is the size of the kernel's register file.
const registerBytes = 64

func newMatcher(p Packet, sets map[string]Set) *matcher {
	m := &matcher{packet: p, sets: sets, registers: field{raw: make([]byte, registerBytes), known: make([]bool, registerBytes)}}
	if p.To.Is4() {
		m.network = field{raw: make([]byte, 20), known: make([]bool, 20)}
		m.network.put(9, []byte{p.Protocol})
		m.network.put(12, p.From.AsSlice())
		m.network.put(16, p.To.AsSlice())
	} else {
		m.network = field{raw: make([]byte, 40), known: make([]bool, 40)}
		m.network.put(6, []byte{p.Protocol})
		m.network.put(8, p.From.AsSlice())
		m.network.put(24, p.To.AsSlice())
	}
	m.transport = field{raw: make([]byte, 20), known: make([]bool, 20)}
	m.transport.put(2, binary.BigEndian.AppendUint16(nil, p.Port))
	if p.Protocol == unix.IPPROTO_TCP {
		m.transport.put(13, []byte{tcpSyn})
	}
	return m
}

// tcpSyn is the flag of a first packet.
const tcpSyn = 0x02

func (f field) put(offset int, raw []byte) {
	for i, b := range raw {
		f.raw[offset+i], f.known[offset+i] = b, true
	}
}

// at is where a register begins: the first five are of 16 bytes, those from 8 on
// (NFT_REG32_00) are parts of them.
func at(register uint32) int {
	if register >= unix.NFT_REG32_00 {
		return 4 * int(register-unix.NFT_REG32_00)
	}
	return 16 * (int(register) - 1)
}

// load fills a register; as in the kernel, the last four bytes it touches have
// zeroes behind the value.
func (m *matcher) load(register uint32, f field) {
	if short := len(f.raw) % 4; short > 0 {
		f = field{raw: append(slices.Clone(f.raw), make([]byte, 4-short)...), known: append(slices.Clone(f.known), slices.Repeat([]bool{true}, 4-short)...)}
	}
	begin := at(register)
	for i := range f.raw {
		if begin >= 0 && begin+i < registerBytes {
			m.registers.raw[begin+i], m.registers.known[begin+i] = f.raw[i], f.known[i]
		}
	}
}

func (m *matcher) value(register uint32, n int) field {
	return m.registers.part(max(at(register), 0), n)
}

// run returns the verdict of the rule, nil where it does not match or has none,
// and whether it is certain that it matches.
func (m *matcher) run(rule []expr.Any) (verdict *expr.Verdict, sure bool) {
	sure = true
	for _, e := range rule {
		matches, v := m.step(e)
		switch {
		case matches == no:
			return nil, true
		case matches == unknown:
			sure = false
		}
		if v != nil {
			return v, sure
		}
	}
	return nil, sure
}

// step is one expression: whether it lets the rule go on, and its verdict.
func (m *matcher) step(e expr.Any) (tri, *expr.Verdict) {
	switch e := e.(type) {
	case *expr.Verdict:
		return yes, e
	case *expr.Reject:
		return yes, &expr.Verdict{Kind: expr.VerdictDrop}
	case *expr.Queue:
		return unknown, &expr.Verdict{Kind: expr.VerdictAccept}
	case *expr.Target:
		return m.target(e)
	case *expr.Lookup:
		return m.lookup(e)
	case *expr.Cmp:
		return compare(e.Op, m.value(e.Register, len(e.Data)), e.Data), nil
	case *expr.Range:
		return m.ranged(e), nil
	case *expr.Match:
		return m.match(e), nil
	case *expr.Counter, *expr.Log, *expr.Notrack:
		return yes, nil
	case *expr.Limit:
		return withinBound(!e.Over), nil
	case *expr.Quota:
		return withinBound(!e.Over), nil
	case *expr.Dynset: // a bound for each element is over as well as within, as Exprs say
		return withinBound(len(e.Exprs) == 0), nil
	case *expr.Objref:
		return withinBound(e.Type == unix.NFT_OBJECT_COUNTER || e.Type == unix.NFT_OBJECT_CT_HELPER), nil
	case *expr.Exthdr, *expr.Connlimit:
		return unknown, nil
	}
	m.compute(e)
	return yes, nil
}

// withinBound is whether a rule with a bound of a rate or an amount goes on: a
// first packet is within it, and nobody outside can tell when it is over.
func withinBound(goesOn bool) tri {
	if goesOn {
		return yes
	}
	return unknown
}

// compute is an expression that fills a register.
func (m *matcher) compute(e expr.Any) {
	switch e := e.(type) {
	case *expr.Meta:
		if !e.SourceRegister {
			m.load(e.Register, m.meta(e.Key))
		}
	case *expr.Payload:
		if e.OperationType == expr.PayloadLoad {
			m.load(e.DestRegister, m.header(e.Base).part(int(e.Offset), int(e.Len)))
		}
	case *expr.Ct:
		if !e.SourceRegister {
			m.load(e.Register, m.tracked(e.Key))
		}
	case *expr.Fib:
		local := field{raw: make([]byte, 4), known: make([]bool, 4)}
		if e.ResultADDRTYPE && e.FlagDADDR {
			local = knownField(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL))
		}
		m.load(e.Register, local)
	case *expr.Immediate:
		m.load(e.Register, knownField(e.Data))
	case *expr.Bitwise:
		m.bitwise(e)
	case *expr.Byteorder:
		f := m.value(e.SourceRegister, int(e.Len))
		for i := 0; e.Size > 0 && i+int(e.Size) <= len(f.raw); i += int(e.Size) {
			slices.Reverse(f.raw[i : i+int(e.Size)])
			slices.Reverse(f.known[i : i+int(e.Size)])
		}
		m.load(e.DestRegister, f)
	case *expr.Hash:
		m.load(e.DestRegister, field{raw: make([]byte, 4), known: make([]bool, 4)})
	case *expr.Numgen:
		m.load(e.Register, field{raw: make([]byte, 4), known: make([]bool, 4)})
	}
}

func (m *matcher) header(base expr.PayloadBase) field {
	switch base {
	case expr.PayloadBaseNetworkHeader:
		return m.network
	case expr.PayloadBaseTransportHeader:
		return m.transport
	}
	return field{}
}

// meta is what the kernel knows of the packet itself.
func (m *matcher) meta(key expr.MetaKey) field {
	switch key {
	case expr.MetaKeyIIFNAME:
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, m.packet.Interface)
		return knownField(name)
	case expr.MetaKeyIIF:
		return knownField(binary.NativeEndian.AppendUint32(nil, uint32(m.packet.Index)))
	case expr.MetaKeyL4PROTO:
		return knownField([]byte{m.packet.Protocol})
	case expr.MetaKeyNFPROTO:
		if m.packet.To.Is4() {
			return knownField([]byte{unix.NFPROTO_IPV4})
		}
		return knownField([]byte{unix.NFPROTO_IPV6})
	case expr.MetaKeyPROTOCOL:
		if m.packet.To.Is4() {
			return knownField(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP))
		}
		return knownField(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IPV6))
	case expr.MetaKeyPKTTYPE:
		return knownField([]byte{unix.PACKET_HOST})
	}
	return field{raw: make([]byte, unix.IFNAMSIZ), known: make([]bool, unix.IFNAMSIZ)}
}

// stateNew is what connection tracking calls a first packet, the same in
// nftables and iptables.
const stateNew = 8

// tracked is what connection tracking says of a first packet.
func (m *matcher) tracked(key expr.CtKey) field {
	switch key {
	case expr.CtKeySTATE:
		return knownField(binary.NativeEndian.AppendUint32(nil, stateNew))
	case expr.CtKeyDIRECTION:
		return knownField([]byte{0})
	}
	return field{raw: make([]byte, 16), known: make([]bool, 16)}
}

func (m *matcher) bitwise(e *expr.Bitwise) {
	f := m.value(e.SourceRegister, int(e.Len))
	for i := range f.raw {
		if i >= len(e.Mask) || i >= len(e.Xor) { // a shift
			f.known[i] = false
			continue
		}
		f.raw[i] = f.raw[i]&e.Mask[i] ^ e.Xor[i]
		f.known[i] = f.known[i] || e.Mask[i] == 0
	}
	m.load(e.DestRegister, f)
}

func compare(op expr.CmpOp, have field, want []byte) tri {
	for i := range want { // one byte that differs settles (in)equality
		if have.known[i] && have.raw[i] != want[i] {
			switch op {
			case expr.CmpOpEq:
				return no
			case expr.CmpOpNeq:
				return yes
			}
		}
	}
	if !have.sure() {
		return unknown
	}
	order := bytes.Compare(have.raw, want)
	switch op {
	case expr.CmpOpEq:
		return triOf(order == 0)
	case expr.CmpOpNeq:
		return triOf(order != 0)
	case expr.CmpOpLt:
		return triOf(order < 0)
	case expr.CmpOpLte:
		return triOf(order <= 0)
	case expr.CmpOpGt:
		return triOf(order > 0)
	case expr.CmpOpGte:
		return triOf(order >= 0)
	}
	return unknown
}

func (m *matcher) ranged(e *expr.Range) tri {
	have := m.value(e.Register, len(e.FromData))
	if !have.sure() {
		return unknown
	}
	inside := bytes.Compare(have.raw, e.FromData) >= 0 && bytes.Compare(have.raw, e.ToData) <= 0
	return triOf(inside == (e.Op == expr.CmpOpEq))
}

// lookup asks a set, or a map of verdicts.
func (m *matcher) lookup(e *expr.Lookup) (tri, *expr.Verdict) {
	set, ok := m.sets[e.SetName]
	if !ok {
		return unknown, nil
	}
	if len(set.Elements) == 0 {
		return triOf(e.Invert), nil
	}
	key := m.value(e.SourceRegister, len(set.Elements[0].Key))
	if !key.sure() {
		return unknown, nil
	}
	found := set.find(key.raw)
	if found != nil && e.IsDestRegSet {
		if found.VerdictData != nil {
			return yes, found.VerdictData
		}
		m.load(e.DestRegister, knownField(found.Val))
	}
	return triOf((found != nil) != e.Invert), nil
}

// find is the element with a key. The elements of an interval begin one, or end
// the one before.
func (s Set) find(key []byte) *nftables.SetElement {
	var last *nftables.SetElement
	for i := range s.Elements {
		e := &s.Elements[i]
		switch {
		case len(e.KeyEnd) == len(key):
			if within(key, e.Key, e.KeyEnd) {
				return e
			}
		case !s.Interval:
			if bytes.Equal(e.Key, key) {
				return e
			}
		case bytes.Compare(e.Key, key) <= 0 && (last == nil || bytes.Compare(e.Key, last.Key) >= 0):
			last = e
		}
	}
	if last != nil && last.IntervalEnd {
		return nil
	}
	return last
}

// within compares each part of a joined key, which takes four bytes or more.
func within(key, from, to []byte) bool {
	for i := 0; i < len(key); i += 4 {
		end := min(i+4, len(key))
		if bytes.Compare(key[i:end], from[i:end]) < 0 || bytes.Compare(key[i:end], to[i:end]) > 0 {
			return false
		}
	}
	return true
}

// match is a condition of iptables.
func (m *matcher) match(e *expr.Match) tri {
	switch info := e.Info.(type) {
	case *xt.Comment:
		return yes
	case *xt.Tcp:
		return m.tcp(info)
	case *xt.Udp:
		return m.ports(unix.IPPROTO_UDP, info.SrcPorts, info.DstPorts, info.InvFlags&xt.UdpInvDestPorts != 0)
	case *xt.ConntrackMtinfo1:
		return conntrack(info.ConntrackMtinfoBase, uint16(info.StateMask))
	case *xt.ConntrackMtinfo2:
		return conntrack(info.ConntrackMtinfoBase, info.StateMask)
	case *xt.ConntrackMtinfo3:
		return conntrack(info.ConntrackMtinfoBase, info.StateMask)
	case *xt.AddrType:
		return addrType(info.Source, info.Dest, info.InvertDest)
	case *xt.AddrTypeV1:
		return addrType(info.Source, info.Dest, info.Flags&addrTypeInvertDest != 0)
	case *xt.Unknown: // of hashlimit: a rate that is over, or within
		switch e.Name {
		case "multiport":
			return m.multiport(*info)
		case "limit", "comment":
			return yes
		}
	}
	return unknown
}

// tcp looks at the flags too: a first packet has SYN alone.
func (m *matcher) tcp(info *xt.Tcp) tri {
	if (tcpSyn&info.FlagsMask == info.FlagsCmp) == (info.InvFlags&xt.TcpInvFlags != 0) {
		return no
	}
	matches := m.ports(unix.IPPROTO_TCP, info.SrcPorts, info.DstPorts, info.InvFlags&xt.TcpInvDestPorts != 0)
	if matches == yes && info.Option != 0 {
		return unknown
	}
	return matches
}

// Of struct xt_addrtype_info_v1: the masks have a bit for each RTN_* of a route.
const (
	addrTypeInvertDest = 0x2
	addrTypeLocal      = 1 << unix.RTN_LOCAL
)

// addrType looks at what a route says of the addresses: the one that a packet to
// this host goes to is local. The one that it comes from is not told.
func addrType(source, dest uint16, invertDest bool) tri {
	if dest != 0 && (dest&addrTypeLocal != 0) == invertDest {
		return no
	}
	if source != 0 {
		return unknown
	}
	return yes
}

func (m *matcher) ports(protocol byte, source, dest [2]uint16, invert bool) tri {
	if m.packet.Protocol != protocol || (m.packet.Port >= dest[0] && m.packet.Port <= dest[1]) == invert {
		return no
	}
	if source != [2]uint16{0, 65535} {
		return unknown
	}
	return yes
}

func conntrack(base xt.ConntrackMtinfoBase, states uint16) tri {
	if base.MatchFlags&uint16(xt.ConntrackState) == 0 {
		return unknown
	}
	invert := base.InvertFlags&uint16(xt.ConntrackState) != 0
	if (states&stateNew != 0) == invert {
		return no
	}
	if base.MatchFlags&^uint16(xt.ConntrackState|xt.ConntrackStateAlias) != 0 {
		return unknown
	}
	return yes
}

// multiport reads struct xt_multiport_v1: what is compared, how many, 15 ports,
// 15 marks of ranges, and whether all of it is turned round.
func (m *matcher) multiport(raw []byte) tri {
	const source, ports, size = 0, 15, 48
	if len(raw) < size || raw[0] == source {
		return unknown
	}
	port := func(i int) uint16 { return binary.NativeEndian.Uint16(raw[2+2*i:]) }
	found := false
	for i := 0; i < int(raw[1]) && i < ports; i++ {
		low, high := port(i), port(i)
		if isRange := raw[2+2*ports+i] != 0; isRange && i+1 < ports {
			i++
			high = port(i)
		}
		found = found || m.packet.Port >= low && m.packet.Port <= high
	}
	return triOf(found != (raw[2+2*ports+ports] != 0))
}

// target is a verdict of iptables.
func (m *matcher) target(e *expr.Target) (tri, *expr.Verdict) {
	switch e.Name {
	case "REJECT", "DROP", "TARPIT":
		return yes, &expr.Verdict{Kind: expr.VerdictDrop}
	case "ACCEPT":
		return yes, &expr.Verdict{Kind: expr.VerdictAccept}
	case "LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "CT", "SET", "AUDIT":
		return yes, nil
	}
	return unknown, nil
}

// Source is an address that a packet from a LAN may come from: another one of
// that prefix than the host's own.
func Source(own netip.Prefix) netip.Addr {
	for _, a := range []netip.Addr{own.Addr().Next(), own.Addr().Prev()} {
		if a.IsValid() && own.Contains(a) {
			return a
		}
	}
	return own.Addr()
}
