package dns

import (
	"encoding/binary"
	"errors"
	"fmt"

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
