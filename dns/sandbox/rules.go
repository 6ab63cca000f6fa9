package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// pulse sends one prepared nftables batch again and again. With hundreds of
// sandboxes the beats are most of what an idle agent does, and this takes a
// sixth of what building and acknowledging each batch through the library
// does.
type pulse struct {
	fd    int
	batch []byte
}

// newPulse opens a netlink socket; it must run inside the namespace.
func newPulse(batch []byte) (*pulse, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", unsupported(err))
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &pulse{fd: fd, batch: batch}, nil
}

// send runs the batch. The kernel works a batch off before send returns, so
// the one acknowledgement, or the first error, is there to be read.
func (p *pulse) send() error {
	if err := unix.Sendto(p.fd, p.batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var failed error
	var buf [4096]byte
	for {
		n, _, err := unix.Recvfrom(p.fd, buf[:], unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return failed
		}
		if err != nil {
			return err
		}
		failed = errors.Join(failed, acknowledged(buf[:n]))
	}
}

// acknowledged reads the error codes of acknowledgements, see netlink(7).
func acknowledged(raw []byte) error {
	for len(raw) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(raw))
		if size < unix.SizeofNlMsghdr || size > len(raw) {
			return errors.New("netlink answer is cut short")
		}
		if binary.NativeEndian.Uint16(raw[4:]) == unix.NLMSG_ERROR && size >= unix.SizeofNlMsghdr+4 {
			if code := int32(binary.NativeEndian.Uint32(raw[unix.SizeofNlMsghdr:])); code != 0 {
				return unix.Errno(-code)
			}
		}
		raw = raw[min(len(raw), (size+3)&^3):]
	}
	return nil
}

func (p *pulse) close() error { return unix.Close(p.fd) }

// refreshBatch is "add element; delete element; add element", each of the
// one element with its timeout, as one transaction (the kernel's
// nf_tables.h). Adding alone would not refresh an element that is there, and
// deleting alone fails when it has expired; the three together do neither.
// Only the last asks to be acknowledged; errors always come.
func refreshBatch(table, set string, key []byte, milliseconds uint64) ([]byte, error) {
	element := netlink.NewAttributeEncoder()
	element.ByteOrder = binary.BigEndian
	element.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	element.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	element.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
		list.Nested(unix.NFTA_LIST_ELEM, func(e *netlink.AttributeEncoder) error {
			e.Nested(unix.NFTA_SET_ELEM_KEY, func(k *netlink.AttributeEncoder) error {
				k.Bytes(unix.NFTA_DATA_VALUE, key)
				return nil
			})
			e.Uint64(unix.NFTA_SET_ELEM_TIMEOUT, milliseconds)
			return nil
		})
		return nil
	})
	attributes, err := element.Encode()
	if err != nil {
		return nil, err
	}
	const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
	var batch []byte
	for _, step := range []struct {
		kind  netlink.HeaderType
		flags netlink.HeaderFlags
		body  []byte
	}{
		{unix.NFNL_MSG_BATCH_BEGIN, 0, nil},
		{subsystem | unix.NFT_MSG_NEWSETELEM, netlink.Create, attributes},
		{subsystem | unix.NFT_MSG_DELSETELEM, 0, attributes},
		{subsystem | unix.NFT_MSG_NEWSETELEM, netlink.Create | netlink.Acknowledge, attributes},
		{unix.NFNL_MSG_BATCH_END, 0, nil},
	} {
		header := []byte{unix.NFPROTO_IPV4, unix.NFNETLINK_V0, 0, 0}
		if step.body == nil {
			header = []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
		}
		m := netlink.Message{Header: netlink.Header{Type: step.kind, Flags: netlink.Request | step.flags}, Data: append(header, step.body...)}
		m.Header.Length = uint32(unix.SizeofNlMsghdr + len(m.Data))
		raw, err := m.MarshalBinary()
		if err != nil {
			return nil, err
		}
		batch = append(batch, raw...)
	}
	return batch, nil
}

// ErrUnsupported is returned where the kernel has no nftables, or lacks what
// the rules need: then names are not answered inside sandboxes, and Docker's
// resolver goes on as if gvlan were not there.
var ErrUnsupported = errors.New("this kernel lacks the nftables parts that names inside containers need")

const (
	tableName = "gvlan_dns"
	setName   = "live"

	// liveFor is how long the kernel sends questions to us after the last
	// beat. beatEvery leaves room for two lost ones.
	liveFor   = 3 * time.Second
	beatEvery = time.Second

	// Our chains are outermost: on its way to a socket a question meets
	// every rule of the container's before ours, and an answer every one
	// after. A container's own rules are at -450 (raw before
	// defragmentation) to 300.
	afterAll, beforeAll = 1000, -1000

	// portsFor is how long an answer finds the port its question was for.
	// It is less than connection tracking's 30 s for UDP, so that no flow
	// of another resolver of Docker's meets the port of the one before;
	// and more than a question may take, and a stream may be idle.
	portsFor = 20 * time.Second
	// portsMax bounds the memory that a container's flood takes. What is
	// beyond goes to Docker's resolver.
	portsMax = 1 << 16
)

// The loopback addresses in a sandbox: Docker's resolver, the same in
// IPv6-only sandboxes, and the one our own questions to it come from.
var (
	dockerAddr = netip.AddrFrom4([4]byte{127, 0, 0, 11})
	relayAddr  = netip.AddrFrom4([4]byte{127, 0, 0, 12})
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
	in := r.conn.AddChain(&nftables.Chain{
		Table: table, Name: "input", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRef(afterAll),
	})
	out := r.conn.AddChain(&nftables.Chain{
		Table: table, Name: "output", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRef(beforeAll),
	})
	ports := portsOf(table)
	if err := r.conn.AddSet(ports, nil); err != nil {
		return fmt.Errorf("install dns rules: %w", err)
	}
	for _, flow := range []transport{{unix.IPPROTO_UDP, 6, udp, ports}, {unix.IPPROTO_TCP, 16, tcp, ports}} {
		r.conn.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: flow.toUs(r.set)})
		r.conn.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: flow.toClient()})
	}
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("install dns rules: %w", unsupported(err))
	}
	return nil
}

// portsOf describes the map that has, for each client, the port of Docker's
// resolver that its question was on the way to. It is one for both protocols,
// because the kernel waits for a grace period at each that goes.
func portsOf(table *nftables.Table) *nftables.Set {
	return &nftables.Set{
		Table: table, Name: "ports", ID: 2, IsMap: true, Dynamic: true, HasTimeout: true, Timeout: portsFor, Size: portsMax,
		KeyType:  nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService, nftables.TypeInetProto),
		DataType: nftables.TypeInetService,
	}
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

// transport is how one protocol's questions are led to us.
type transport struct {
	protocol byte
	checksum uint32        // offset of the checksum in its header
	port     uint16        // ours
	ports    *nftables.Set // Docker's, by client
}

// Offsets in the IPv4 header (RFC 791) and in both transports' headers.
const (
	sourceAddr, destAddr = 12, 16
	sourcePort, destPort = 0, 2
)

// Registers of four bytes. The first three together are a client, as the map
// has it.
const register, clientPort, clientProtocol, dockerPort = unix.NFT_REG32_00, unix.NFT_REG32_01, unix.NFT_REG32_02, unix.NFT_REG32_03

// toUs: ip daddr @live, ct original ip daddr 127.0.0.11, ct original
// proto-dst 53, ct original ip saddr != 127.0.0.12 -> note Docker's port for
// this client, and put ours in its place. What the flow was before Docker's
// NAT is asked of connection tracking, and not of the packet, so that no NAT
// or mark of the container's makes our own question one for us.
func (t transport) toUs(live *nftables.Set) []expr.Any {
	return append([]expr.Any{
		loadAddr(destAddr, register),
		&expr.Lookup{SourceRegister: register, SetName: live.Name, SetID: live.ID},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{t.protocol}},
		&expr.Ct{Key: expr.CtKeyDST, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: dockerAddr.AsSlice()},
		&expr.Ct{Key: expr.CtKeyPROTODST, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: bigEndian(53)},
		&expr.Ct{Key: expr.CtKeySRC, Register: register},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: relayAddr.AsSlice()},
		loadAddr(sourceAddr, register),
		loadPort(sourcePort, clientPort),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: clientProtocol},
		loadPort(destPort, dockerPort),
		&expr.Dynset{
			SrcRegKey: register, SrcRegData: dockerPort, SetName: t.ports.Name, SetID: t.ports.ID,
			Operation: uint32(unix.NFT_DYNSET_OP_UPDATE),
		},
		&expr.Immediate{Register: register, Data: bigEndian(t.port)},
	}, t.write(destPort))
}

// toClient: our address and port -> the port of Docker's that this client's
// question was on the way to. This one needs no beat: it only concerns what
// we send.
func (t transport) toClient() []expr.Any {
	return append([]expr.Any{
		loadAddr(sourceAddr, register),
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: dockerAddr.AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{t.protocol}},
		loadPort(sourcePort, register),
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: bigEndian(t.port)},
		loadAddr(destAddr, register),
		loadPort(destPort, clientPort),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: clientProtocol},
		&expr.Lookup{
			SourceRegister: register, DestRegister: register, IsDestRegSet: true, SetName: t.ports.Name, SetID: t.ports.ID,
		},
	}, t.write(sourcePort))
}

// write puts the register's port into the header.
func (t transport) write(at uint32) expr.Any {
	return &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: register,
		Base: expr.PayloadBaseTransportHeader, Offset: at, Len: 2,
		CsumType: expr.CsumTypeInet, CsumOffset: t.checksum,
	}
}

func loadAddr(offset, to uint32) expr.Any {
	return &expr.Payload{DestRegister: to, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

func loadPort(offset, to uint32) expr.Any {
	return &expr.Payload{DestRegister: to, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
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
