package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ErrUnsupported is returned where the kernel has no nftables, or lacks what
// the rules need: then names are not answered inside sandboxes, and Docker's
// resolver goes on as if gvlan were not there.
var ErrUnsupported = errors.New("this kernel lacks the nftables parts that names inside containers need")

const (
	tableName = "gvlan_dns"
	setName   = "live"

	// mark exempts our own questions to Docker's resolver from the rules.
	mark = 0x6776

	// liveFor is how long the kernel sends questions to us after the last
	// beat. beatEvery leaves room for two lost ones.
	liveFor   = 3 * time.Second
	beatEvery = time.Second

	// beforeNAT is the priority of the chain: ahead of connection tracking
	// (-200), so that no tracked flow outlives a dead agent, and so ahead of
	// Docker's DNAT (-100).
	beforeNAT = -300
)

// The loopback addresses of a sandbox: Docker's resolver, the same in
// IPv6-only sandboxes, and ours.
var (
	dockerAddr = netip.AddrFrom4([4]byte{127, 0, 0, 11})
	ownAddr    = netip.AddrFrom4([4]byte{127, 0, 0, 12})
)

// rules is the table in one sandbox that hands its DNS questions to us while
// beats arrive. It keeps its netlink sockets open in the namespace, so that
// nothing after newRules has to enter it.
type rules struct {
	conn  *nftables.Conn
	pulse *pulse
	set   *nftables.Set
}

// newRules opens the sockets; it must run inside the namespace.
func newRules() (*rules, error) {
	batch, err := refreshBatch(tableName, setName, dockerAddr.AsSlice(), uint64(liveFor.Milliseconds()))
	if err != nil {
		return nil, fmt.Errorf("prepare dns rules: %w", err)
	}
	pulse, err := newPulse(batch)
	if err != nil {
		return nil, err
	}
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		pulse.close()
		return nil, fmt.Errorf("open nftables: %w", unsupported(err))
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	return &rules{conn: conn, pulse: pulse, set: &nftables.Set{
		Table: table, Name: setName, KeyType: nftables.TypeIPAddr, HasTimeout: true,
		ID: 1, // of this batch; given, because the library counts in a variable all connections share
	}}, nil
}

// install makes the table anew, whatever a former agent left, and hands
// questions to these ports of ours. It is one transaction.
func (r *rules) install(udp, tcp uint16) error {
	table := r.conn.AddTable(r.set.Table) // so that there is one to delete
	r.conn.DelTable(table)
	r.conn.AddTable(table)
	if err := r.conn.AddSet(r.set, []nftables.SetElement{{Key: dockerAddr.AsSlice(), Timeout: liveFor}}); err != nil {
		return fmt.Errorf("install dns rules: %w", err)
	}
	chain := r.conn.AddChain(&nftables.Chain{
		Table: table, Name: "output", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRef(beforeNAT),
	})
	for _, flow := range []transport{{unix.IPPROTO_UDP, 6, udp}, {unix.IPPROTO_TCP, 16, tcp}} {
		r.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: flow.toUs(r.set)})
		r.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: flow.toClient()})
	}
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("install dns rules: %w", unsupported(err))
	}
	return nil
}

// beat keeps the rules alive for another liveFor.
func (r *rules) beat() error {
	if err := r.pulse.send(); err != nil {
		return fmt.Errorf("keep dns rules alive: %w", err)
	}
	return nil
}

// remove takes the table away and closes the sockets.
func (r *rules) remove() error {
	r.conn.DelTable(r.set.Table)
	err := r.conn.Flush()
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return errors.Join(err, r.close())
}

// close closes the sockets; the table stays, and is without effect once
// liveFor has passed.
func (r *rules) close() error { return errors.Join(r.conn.CloseLasting(), r.pulse.close()) }

// transport is one protocol's redirection.
type transport struct {
	protocol byte
	checksum uint32 // offset of the checksum in its header
	port     uint16 // ours
}

// Offsets in the IPv4 header (RFC 791) and in both transports' headers.
const (
	sourceAddr, destAddr = 12, 16
	sourcePort, destPort = 0, 2
	headerChecksum       = 10
)

// toUs: ip daddr @live, dport 53, meta mark != 0x6776 -> our address and
// port, not tracked.
func (t transport) toUs(live *nftables.Set) []expr.Any {
	return append([]expr.Any{
		loadAddr(destAddr),
		&expr.Lookup{SourceRegister: 1, SetName: live.Name, SetID: live.ID},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{t.protocol}},
		loadPort(destPort),
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: bigEndian(53)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
	}, t.rewrite(destAddr, ownAddr, destPort, t.port)...)
}

// toClient: our address and port -> as if Docker's resolver had answered.
// This one needs no beat: it only concerns what we send.
func (t transport) toClient() []expr.Any {
	return append([]expr.Any{
		loadAddr(sourceAddr),
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ownAddr.AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{t.protocol}},
		loadPort(sourcePort),
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: bigEndian(t.port)},
	}, t.rewrite(sourceAddr, dockerAddr, sourcePort, 53)...)
}

func (t transport) rewrite(addrAt uint32, addr netip.Addr, portAt uint32, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: addr.AsSlice()},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: 1,
			Base: expr.PayloadBaseNetworkHeader, Offset: addrAt, Len: 4,
			CsumType: expr.CsumTypeInet, CsumOffset: headerChecksum, CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
		},
		&expr.Immediate{Register: 1, Data: bigEndian(port)},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: 1,
			Base: expr.PayloadBaseTransportHeader, Offset: portAt, Len: 2,
			CsumType: expr.CsumTypeInet, CsumOffset: t.checksum,
		},
		&expr.Notrack{},
	}
}

func loadAddr(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

func loadPort(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
}

func bigEndian(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// unsupported marks the errors of a kernel without nftables or without an
// expression of ours: no such protocol family or subsystem, or, since every
// object in the batch is made by the batch, an expression it does not know.
func unsupported(err error) error {
	for _, missing := range []error{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ENOENT} {
		if errors.Is(err, missing) {
			return fmt.Errorf("%w (%w)", ErrUnsupported, err)
		}
	}
	return err
}
