package sandbox

import (
	"bufio"
	"net/netip"
	"strings"
	"testing"

	"gvlan/dns/serve"
)

// TestClientsUser reads tables as the kernel of a little-endian machine writes
// them.
func TestClientsUser(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for _, test := range []struct {
		what, table, addr string
		stream            bool
		want              int // -1: none
	}{
		{"connected", "0: 0100007F:CF08 0B00007F:0035 01 0:0 00:0 0 33 0 1", "127.0.0.1:53000", false, 33},
		{"on every address", "0: 00000000:CF08 00000000:0000 07 0:0 00:0 0 1000 0 1", "127.0.0.1:53000", false, 1000},
		{"another port", "0: 0100007F:CF09 0B00007F:0035 01 0:0 00:0 0 33 0 1", "127.0.0.1:53000", false, -1},
		{"another address", "0: 0500090A:CF08 0B00007F:0035 01 0:0 00:0 0 33 0 1", "127.0.0.1:53000", false, -1},
		{"an ended connection, then a living one", "0: 0100007F:CF08 0100007F:0050 06 0:0 00:0 0 0 0 0\n1: 0100007F:CF08 0B00007F:0035 01 0:0 00:0 0 33 0 1", "127.0.0.1:53000", true, 33},
		{"IPv4 on an IPv6 socket", "0: 0000000000000000FFFF00000100007F:CF08 0000000000000000FFFF00000B00007F:0035 01 0:0 00:0 0 33 0 1", "127.0.0.1:53000", false, 33},
		{"cut short", "0: 0100007F:CF08", "127.0.0.1:53000", false, -1},
	} {
		c := serve.Client{AddrPort: netip.MustParseAddrPort(test.addr), Stream: test.stream}
		uid, ok := findUser(bufio.NewScanner(strings.NewReader(head+test.table+"\n")), c)
		if !ok {
			uid = -1
		}
		if uid != test.want {
			t.Errorf("%s: user %d, want %d", test.what, uid, test.want)
		}
	}
}
