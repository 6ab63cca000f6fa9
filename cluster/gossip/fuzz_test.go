package gossip

import (
	"bytes"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// FuzzMember: what a node says of itself and answers to a probe is read, or is not,
// whatever it is and from whichever address; what is read is written alike.
func FuzzMember(f *testing.F) {
	f.Add("b", []byte{192, 0, 2, 1}, uint16(7947), Meta{Flags: Draining, Gen: 7}.encode(), Ack{Ring: 1, Clock: time.Unix(0, 5)}.encode())
	f.Add("", []byte(nil), uint16(0), []byte(nil), []byte(nil))
	f.Add("b\n\x00", bytes.Repeat([]byte{255}, 16), uint16(65535), bytes.Repeat([]byte{255}, 600), bytes.Repeat([]byte{255}, 600))
	f.Add("b", []byte{1, 2, 3}, uint16(1), []byte{1}, make([]byte, ackSizeNoClock))
	f.Fuzz(func(t *testing.T, name string, address []byte, port uint16, meta, ack []byte) {
		if read, err := decodeMeta(meta); err == nil && !bytes.Equal(read.encode()[1:], meta[1:metaSize]) {
			t.Errorf("metadata %x is read as %+v", meta, read)
		}
		if read, err := decodeAck(ack); err == nil && len(ack) >= ackSize && !bytes.Equal(read.encode()[4:], ack[4:ackSize]) {
			t.Errorf("acknowledgement %x is read as %+v", ack, read)
		}
		table := newTable(func() time.Time { return time.Unix(1000, 0) })
		n := &memberlist.Node{Name: name, Addr: address, Port: port, Meta: meta}
		at, read := addrPort(n), Meta{}
		read, _ = decodeMeta(n.Meta)
		table.saw(n.Name, at, read)
		answered, _ := decodeAck(ack)
		table.answered(n.Name, time.Second, answered)
		table.lost(n.Name)
		for _, m := range table.list() {
			_ = m.Meta.Remarks()
		}
	})
}
