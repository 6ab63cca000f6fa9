package serve

import (
	"net"
	"net/netip"
	"runtime"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"gvlan/dns/zone"
)

// batchSize is how many packets one system call reads or writes at most. Under
// load the calls are most of what a question costs.
const batchSize = 32

// batcher is a socket that reads and writes several packets by one call:
// recvmmsg(2), sendmmsg(2).
type batcher interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// batchConn reads and answers many packets at a time. It takes 170 KB, so it is
// for the sockets of the host and not for those of sandboxes.
type batchConn struct {
	packetConn
	batch    batcher
	in, out  []ipv4.Message
	unread   []ipv4.Message // of in: not answered, and not handed over yet
	question [batchSize][zone.UDPSize]byte
	answer   [batchSize][udpAnswer]byte
}

func newBatchConn(conn *net.UDPConn, local netip.Addr, inline InlineFunc) *batchConn {
	c := &batchConn{packetConn: packetConn{UDPConn: conn, inline: inline}}
	c.batch = ipv4.NewPacketConn(conn)
	if local.Is6() {
		c.batch = ipv6.NewPacketConn(conn)
	}
	for i := range batchSize {
		c.in = append(c.in, ipv4.Message{Buffers: [][]byte{c.question[i][:]}})
		c.out = append(c.out, ipv4.Message{Buffers: [][]byte{nil}})
	}
	return c
}

// ReadFrom returns the next packet that was not answered already.
func (c *batchConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for len(c.unread) == 0 {
		n, err := c.batch.ReadBatch(c.in, 0)
		if err != nil {
			return 0, nil, err
		}
		c.answerAll(c.in[:n])
		runtime.Gosched() // what comes meanwhile is read by one call, and no thread sleeps and wakes for it
	}
	m := c.unread[0]
	c.unread = c.unread[1:]
	return copy(p, m.Buffers[0][:m.N]), &peer{clientAt(m)}, nil
}

// answerAll answers what it can of these packets, and notes the others.
func (c *batchConn) answerAll(packets []ipv4.Message) {
	count := 0
	c.unread = c.unread[:0]
	for _, m := range packets {
		out, ok := c.inline(c.answer[count][:0], m.Buffers[0][:m.N], clientAt(m), c.spin.Add(1))
		if !ok {
			c.unread = append(c.unread, m)
			continue
		}
		c.out[count].Buffers[0], c.out[count].Addr = out, m.Addr
		count++
	}
	answers := c.out[:count]
	for len(answers) > 0 {
		n, err := c.batch.WriteBatch(answers, 0)
		if err != nil || n <= 0 {
			n = max(n, 0) + 1 // the first of them cannot be sent
		}
		answers = answers[n:]
	}
}

// clientAt is who sent a packet.
func clientAt(m ipv4.Message) netip.AddrPort {
	return m.Addr.(*net.UDPAddr).AddrPort()
}
