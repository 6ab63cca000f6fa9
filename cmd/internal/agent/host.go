package agent

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/config"
	"gvlan/driver/journal"
	"gvlan/ipam"
)

// past keeps what this host remembers of its cluster in the journal.
type past struct{ bucket *journal.Bucket }

func (p *parts) past() past { return past{p.journal.Bucket("past")} }

// LoadPast implements store.Past. What an older gvlan saved lacks some of it.
func (p past) LoadPast() (known session.Memory, err error) {
	raw := map[string][]byte{}
	for _, key := range []string{"cluster", "revision", "last", "recovery", "newest"} {
		if raw[key], err = p.bucket.Get(key); err != nil && !errors.Is(err, journal.ErrAbsent) {
			return session.Memory{}, err
		}
	}
	number := func(key string) uint64 {
		if len(raw[key]) != 8 {
			return 0
		}
		return binary.BigEndian.Uint64(raw[key])
	}
	return session.Memory{
		Cluster: string(raw["cluster"]), Revision: store.Revision(number("revision")),
		Last: store.Revision(number("last")), Recovery: int64(number("recovery")),
		Newest: newest(raw["newest"]),
	}, nil
}

// newest is a write as SavePast keeps it: its revision, then the node.
func newest(raw []byte) session.Write {
	if len(raw) < 8 {
		return session.Write{}
	}
	return session.Write{Node: string(raw[8:]), At: store.Revision(binary.BigEndian.Uint64(raw))}
}

// SavePast implements store.Past.
func (p past) SavePast(known session.Memory) error {
	number := func(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
	return p.bucket.PutAll(map[string][]byte{
		"cluster":  []byte(known.Cluster),
		"revision": number(int64(known.Revision)),
		"last":     number(int64(known.Last)),
		"recovery": number(known.Recovery),
		"newest":   append(number(int64(known.Newest.At)), known.Newest.Node...),
	})
}

// returned is the last epoch in which this node had taken its addresses again
// after an eviction; 0 for none in this cluster.
func (p past) returned() (int64, error) {
	raw, err := p.bucket.Get("returned")
	if errors.Is(err, journal.ErrAbsent) {
		return 0, nil
	}
	if err != nil || len(raw) < 8 {
		return 0, err
	}
	known, err := p.LoadPast()
	if err != nil || known.Cluster != string(raw[8:]) {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(raw)), nil
}

func (p past) saveReturned(epoch int64, cluster string) error {
	return p.bucket.Put("returned", append(binary.BigEndian.AppendUint64(nil, uint64(epoch)), cluster...))
}

// socketPath is the file behind a unix:// address; others are refused by the
// check of the configuration.
func socketPath(docker string) string { return strings.TrimPrefix(docker, "unix://") }

// pluginSocketName is the file name Docker finds the plugin by. In a managed
// plugin it is what config.json says.
func pluginSocketName(c config.Config) string {
	if c.Swarm {
		return "gvlan"
	}
	return c.DriverName
}

// routes lists the destinations of this host's routes; default routes are
// left out.
func routes() ([]netip.Prefix, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	var all []netip.Prefix
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		found, err := handle.RouteList(nil, family)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			if p, ok := destination(r.Dst); ok {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

func destination(dst *net.IPNet) (netip.Prefix, bool) {
	if dst == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(dst.IP)
	bits, _ := dst.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), bits), true
}

// defaultPools are the configured blocks as runs of subnets.
func defaultPools(c config.Pools) []ipam.DefaultPools {
	var pools []ipam.DefaultPools
	for _, b := range append(append([]config.Block{}, c.Default4...), c.Default6...) {
		pools = append(pools, ipam.DefaultPools{First: netip.PrefixFrom(b.Base.Addr(), b.Bits), Last: lastSubnet(b)})
	}
	return pools
}

// lastSubnet is the highest subnet of b.Bits in a block.
func lastSubnet(b config.Block) netip.Prefix {
	raw := b.Base.Masked().Addr().AsSlice()
	for bit := b.Base.Bits(); bit < b.Bits; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.PrefixFrom(addr, b.Bits)
}
