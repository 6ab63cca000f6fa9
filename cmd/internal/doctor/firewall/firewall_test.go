package firewall_test

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"gvlan/cmd/internal/doctor/firewall"
	"gvlan/driver/netns/netnstest"
)

// rule joins parts of a rule.
func rule(parts ...[]expr.Any) (all []expr.Any) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func verdict(kind expr.VerdictKind, chain ...string) []expr.Any {
	v := &expr.Verdict{Kind: kind}
	if len(chain) > 0 {
		v.Chain = chain[0]
	}
	return []expr.Any{&expr.Counter{}, v}
}

func is(op expr.CmpOp, load expr.Any, data []byte) []expr.Any {
	return []expr.Any{load, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

func protocol(p byte) []expr.Any {
	return is(expr.CmpOpEq, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{p})
}

func port(p uint16) []expr.Any {
	return is(expr.CmpOpEq, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, binary.BigEndian.AppendUint16(nil, p))
}

func from(addr string) []expr.Any {
	return is(expr.CmpOpEq, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, netip.MustParseAddr(addr).AsSlice())
}

func iface(name string) []expr.Any {
	raw := make([]byte, unix.IFNAMSIZ)
	copy(raw, name)
	return is(expr.CmpOpEq, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, raw)
}

// state is `ct state` with one of these bits.
func state(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// marked asks what nobody outside can tell.
func marked() []expr.Any {
	return is(expr.CmpOpEq, &expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, []byte{1, 0, 0, 0})
}

const established, fresh = 2 | 4, 8

// input is a ruleset of one chain at the hook, and those it jumps to.
func input(drops bool, others map[string][][]expr.Any, rules ...[]expr.Any) firewall.Ruleset {
	chain := func(name string, rules [][]expr.Any) firewall.Chain {
		c := firewall.Chain{Family: nftables.TableFamilyINet, Table: "filter", Name: name}
		for i, r := range rules {
			c.Rules = append(c.Rules, firewall.Rule{Handle: uint64(i + 1), Exprs: r})
		}
		return c
	}
	base := chain("input", rules)
	base.Hook, base.Drops = nftables.ChainHookInput, drops
	set := firewall.Ruleset{Chains: []firewall.Chain{base}}
	for name, rules := range others {
		set.Chains = append(set.Chains, chain(name, rules))
	}
	return set
}

var gossip = firewall.Packet{
	Interface: "eth0", Index: 2, From: netip.MustParseAddr("192.168.1.2"), To: netip.MustParseAddr("192.168.1.1"), Protocol: unix.IPPROTO_UDP, Port: 7947,
}

func TestJudge(t *testing.T) {
	accept, drop := verdict(expr.VerdictAccept), verdict(expr.VerdictDrop)
	jump := verdict(expr.VerdictJump, "more")
	back := verdict(expr.VerdictReturn)
	tests := []struct {
		name  string
		rules firewall.Ruleset
		want  firewall.Verdict
	}{
		{"what may return is not certain to be dropped", input(true, map[string][][]expr.Any{"more": {rule(marked(), back), drop}}, jump, accept),
			firewall.Verdict{Dropped: true, By: "rule 2 of chain more in table inet filter"}},
		{"a rate that is over", input(false, nil, rule([]expr.Any{&expr.Limit{Over: true}}, drop)), firewall.Verdict{Certain: true}},
		{"a rate", input(true, nil, rule([]expr.Any{&expr.Limit{}}, accept)), firewall.Verdict{Certain: true}},
		{"an amount that is over", input(false, nil, rule([]expr.Any{&expr.Quota{Over: true}}, drop)), firewall.Verdict{Certain: true}},
		{"a rate of each host that is over", input(false, nil, rule([]expr.Any{&expr.Dynset{Exprs: []expr.Any{&expr.Limit{Over: true}}}}, drop)), firewall.Verdict{Certain: true}},
		{"a list that grows", input(false, nil, rule([]expr.Any{&expr.Dynset{}}, drop)),
			firewall.Verdict{Dropped: true, Certain: true, By: "rule 1 of chain input in table inet filter"}},
		{"a rate with a name", input(false, nil, rule([]expr.Any{&expr.Objref{Type: unix.NFT_OBJECT_LIMIT}}, drop)), firewall.Verdict{Certain: true}},
		{"a counter with a name", input(false, nil, rule([]expr.Any{&expr.Objref{Type: unix.NFT_OBJECT_COUNTER}}, drop)),
			firewall.Verdict{Dropped: true, Certain: true, By: "rule 1 of chain input in table inet filter"}},
		{"no rules", firewall.Ruleset{}, firewall.Verdict{Certain: true}},
		{"a policy", input(true, nil), firewall.Verdict{Dropped: true, Certain: true, By: "the policy of chain input in table inet filter"}},
		{"a policy, and the port is open", input(true, nil, rule(state(established), accept), rule(protocol(unix.IPPROTO_UDP), port(7947), accept)), firewall.Verdict{Certain: true}},
		{"a policy, and only what is established passes", input(true, nil, rule(state(established), accept)),
			firewall.Verdict{Dropped: true, Certain: true, By: "the policy of chain input in table inet filter"}},
		{"new connections pass", input(true, nil, rule(state(fresh), accept)), firewall.Verdict{Certain: true}},
		{"a rule", input(false, nil, rule(port(53), drop), rule(protocol(unix.IPPROTO_UDP), port(7947), drop)),
			firewall.Verdict{Dropped: true, Certain: true, By: "rule 2 of chain input in table inet filter"}},
		{"a rule for TCP", input(false, nil, rule(protocol(unix.IPPROTO_TCP), port(7947), drop)), firewall.Verdict{Certain: true}},
		{"a rule for another host", input(false, nil, rule(from("192.168.1.9"), drop)), firewall.Verdict{Certain: true}},
		{"a rule for this host", input(false, nil, rule(from("192.168.1.2"), drop)), firewall.Verdict{Dropped: true, Certain: true, By: "rule 1 of chain input in table inet filter"}},
		{"the loopback passes", input(true, nil, rule(iface("lo"), accept)), firewall.Verdict{Dropped: true, Certain: true, By: "the policy of chain input in table inet filter"}},
		{"the interface passes", input(true, nil, rule(iface("eth0"), accept)), firewall.Verdict{Certain: true}},
		{"a chain of its own drops", input(false, map[string][][]expr.Any{"more": {rule(port(7947), drop)}}, jump),
			firewall.Verdict{Dropped: true, Certain: true, By: "rule 1 of chain more in table inet filter"}},
		{"a chain of its own returns", input(true, map[string][][]expr.Any{"more": {verdict(expr.VerdictReturn), drop}}, jump, accept), firewall.Verdict{Certain: true}},
		{"reject", input(false, nil, rule(port(7947), []expr.Any{&expr.Reject{}})), firewall.Verdict{Dropped: true, Certain: true, By: "rule 1 of chain input in table inet filter"}},
		{"what a mark drops is taken to pass", input(false, nil, rule(marked(), drop)), firewall.Verdict{Certain: true}},
		{"what a mark lets through is not certain", input(true, nil, rule(marked(), accept)),
			firewall.Verdict{Dropped: true, By: "the policy of chain input in table inet filter"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.rules.Judge(gossip); got != tt.want {
				t.Errorf("the verdict is %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestIPTables: what its own matches say of a first packet.
func TestIPTables(t *testing.T) {
	const syn, ack, all = 0x02, 0x10, 0x3f
	every := [2]uint16{0, 65535}
	tcp := func(mask, value uint8, invert xt.TcpInvFlagset) *expr.Match {
		return &expr.Match{Name: "tcp", Info: &xt.Tcp{SrcPorts: every, DstPorts: every, FlagsMask: mask, FlagsCmp: value, InvFlags: invert}}
	}
	other := func(name string) *expr.Match {
		raw := xt.Unknown(make([]byte, 64))
		return &expr.Match{Name: name, Info: &raw}
	}
	type addrType = xt.AddrTypeV1
	for _, tt := range []struct {
		name    string
		match   *expr.Match
		dropped bool
	}{
		{"tcp", tcp(0, 0, 0), true},
		{"--syn", tcp(syn|ack, syn, 0), true},
		{"! --syn", tcp(syn|ack, syn, xt.TcpInvFlags), false},
		{"--tcp-flags ALL NONE", tcp(all, 0, 0), false},
		{"--tcp-flags SYN,ACK SYN,ACK", tcp(syn|ack, syn|ack, 0), false},
		{"--tcp-option 2", &expr.Match{Name: "tcp", Info: &xt.Tcp{SrcPorts: every, DstPorts: every, Option: 2}}, false},
		{"--dst-type LOCAL", &expr.Match{Name: "addrtype", Info: &addrType{Dest: 1 << unix.RTN_LOCAL}}, true},
		{"! --dst-type LOCAL", &expr.Match{Name: "addrtype", Info: &addrType{Dest: 1 << unix.RTN_LOCAL, Flags: 2}}, false},
		{"--dst-type MULTICAST", &expr.Match{Name: "addrtype", Info: &xt.AddrType{Dest: 1 << unix.RTN_MULTICAST}}, false},
		{"--src-type LOCAL", &expr.Match{Name: "addrtype", Info: &addrType{Source: 1 << unix.RTN_LOCAL}}, false},
		{"limit", other("limit"), true},
		{"hashlimit", other("hashlimit"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packet := gossip
			packet.Protocol = unix.IPPROTO_TCP
			if got := input(false, nil, rule([]expr.Any{tt.match}, verdict(expr.VerdictDrop))).Judge(packet); got.Dropped != tt.dropped || !got.Certain {
				t.Errorf("the verdict is %+v, want dropped %t", got, tt.dropped)
			}
		})
	}
}

// TestSets: open ports are listed in sets, with intervals, and in maps of
// verdicts.
func TestSets(t *testing.T) {
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	be := func(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }
	single := firewall.Set{Elements: []nftables.SetElement{{Key: be(53)}, {Key: be(7947)}}}
	interval := firewall.Set{Interval: true, Elements: []nftables.SetElement{
		{Key: be(0), IntervalEnd: true}, {Key: be(7940)}, {Key: be(7950), IntervalEnd: true}, {Key: be(9000)}, {Key: be(9001), IntervalEnd: true},
	}}
	verdicts := firewall.Set{Elements: []nftables.SetElement{{Key: be(7947), VerdictData: &expr.Verdict{Kind: expr.VerdictAccept}}}}
	joined := firewall.Set{Elements: []nftables.SetElement{{Key: []byte{unix.IPPROTO_UDP, 0, 0, 0, 0x1f, 0x0b, 0, 0}}}}
	tests := []struct {
		name    string
		set     firewall.Set
		asks    expr.Lookup
		end     []expr.Any
		port    uint16
		dropped bool
	}{
		{"listed", single, expr.Lookup{}, verdict(expr.VerdictAccept), 7947, false},
		{"not listed", single, expr.Lookup{}, verdict(expr.VerdictAccept), 7948, true},
		{"all but those listed", single, expr.Lookup{Invert: true}, verdict(expr.VerdictAccept), 7947, true},
		{"within", interval, expr.Lookup{}, verdict(expr.VerdictAccept), 7947, false},
		{"at the end", interval, expr.Lookup{}, verdict(expr.VerdictAccept), 7950, true},
		{"between two", interval, expr.Lookup{}, verdict(expr.VerdictAccept), 8000, true},
		{"by a map", verdicts, expr.Lookup{IsDestRegSet: true}, nil, 7947, false},
		{"joined with the protocol", joined, expr.Lookup{SourceRegister: unix.NFT_REG32_08}, verdict(expr.VerdictAccept), 7947, false},
		{"joined, and another port", joined, expr.Lookup{SourceRegister: unix.NFT_REG32_08}, verdict(expr.VerdictAccept), 7948, true},
		{"not in the map", verdicts, expr.Lookup{IsDestRegSet: true}, nil, 7948, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asks := tt.asks
			asks.SourceRegister, asks.SetName = cmp.Or(asks.SourceRegister, 1), "ports"
			rules := input(true, nil, rule([]expr.Any{load,
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG32_08},
				&expr.Payload{DestRegister: unix.NFT_REG32_09, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
				&asks}, tt.end))
			rules.Chains[0].Rules[0].Sets = map[string]firewall.Set{"ports": tt.set}
			packet := gossip
			packet.Port = tt.port
			if got := rules.Judge(packet); got.Dropped != tt.dropped || !got.Certain {
				t.Errorf("the verdict is %+v, want dropped %t", got, tt.dropped)
			}
		})
	}
}

// TestRead reads back what a kernel was given.
func TestRead(t *testing.T) {
	ns, err := netnstest.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	err = ns.Do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		policy := nftables.ChainPolicyDrop
		table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "filter"})
		chain := conn.AddChain(&nftables.Chain{Table: table, Name: "input", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &policy})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule(state(established), verdict(expr.VerdictAccept))})
		ports := &nftables.Set{Table: table, Anonymous: true, Constant: true, KeyType: nftables.TypeInetService, ID: 1}
		if err := conn.AddSet(ports, []nftables.SetElement{{Key: []byte{0x1f, 0x0b}}, {Key: []byte{0, 22}}}); err != nil {
			return err
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule(protocol(unix.IPPROTO_UDP), []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Lookup{SourceRegister: 1, SetName: ports.Name, SetID: ports.ID},
		}, verdict(expr.VerdictAccept))})
		if err := conn.Flush(); err != nil {
			return err
		}
		rules, err := firewall.Read()
		if err != nil {
			return err
		}
		if got := rules.Judge(gossip); got.Dropped {
			t.Errorf("the port that is open: %+v", got)
		}
		closed := gossip
		closed.Protocol = unix.IPPROTO_TCP
		if got := rules.Judge(closed); !got.Dropped || !got.Certain {
			t.Errorf("the port that is closed: %+v", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
