package pool

import (
	"fmt"
	"net/netip"
	"strings"
)

// The address spaces gvlan answers Docker with. Docker hands them back with
// every pool; swarm's manager uses the global one and its workers the local
// one for the same network, which is how their requests are told apart.
const (
	LocalSpace  = "gvlan-local"
	GlobalSpace = "gvlan-global"
)

// poolIDVersion starts every PoolID; another one means another layout.
const poolIDVersion = "v1"

// ID names one opened view on a subnet. Docker stores its string with
// the network and sends nothing else with a request for an address, so the
// string alone says everything needed to answer. Every RequestPool mints its
// own: two networks on one subnet must not share one, or nobody could tell
// whose range or second subnet a request means.
type ID struct {
	Space   string
	Segment string
	Subnet  netip.Prefix // masked
	Range   netip.Prefix // masked, within Subnet; zero: the whole subnet
	Nonce   string       // 128 random bits, hex
}

// String writes "v1|space|segment|subnet|range|nonce".
func (p ID) String() string {
	within := ""
	if p.Range.IsValid() {
		within = p.Range.String()
	}
	return strings.Join([]string{poolIDVersion, p.Space, p.Segment, p.Subnet.String(), within, p.Nonce}, "|")
}

// ParseID is the inverse of String and takes nothing else.
func ParseID(id string) (ID, error) {
	parts := strings.Split(id, "|")
	if len(parts) != 6 || parts[0] != poolIDVersion {
		return ID{}, fmt.Errorf("read pool id %q: want %s|space|segment|subnet|range|nonce", id, poolIDVersion)
	}
	p := ID{Space: parts[1], Segment: parts[2], Nonce: parts[5]}
	subnet, err := netip.ParsePrefix(parts[3])
	if err != nil {
		return ID{}, fmt.Errorf("read pool id %q: %w", id, err)
	}
	p.Subnet = subnet
	if parts[4] != "" {
		if p.Range, err = netip.ParsePrefix(parts[4]); err != nil {
			return ID{}, fmt.Errorf("read pool id %q: %w", id, err)
		}
	}
	if err := p.check(); err != nil {
		return ID{}, fmt.Errorf("read pool id %q: %w", id, err)
	}
	if p.String() != id {
		return ID{}, fmt.Errorf("read pool id %q: want it written %q", id, p.String())
	}
	return p, nil
}

func (p ID) check() error {
	if !IsSpace(p.Space) {
		return fmt.Errorf("%q is no address space of gvlan", p.Space)
	}
	if err := checkSegment(p.Segment); err != nil {
		return err
	}
	if err := checkSubnet(p.Subnet); err != nil {
		return err
	}
	if p.Range.IsValid() {
		if err := CheckRange(p.Range, p.Subnet); err != nil {
			return err
		}
	}
	if p.Subnet != p.Subnet.Masked() || p.Range != p.Range.Masked() {
		return fmt.Errorf("subnet %s or range %s has host bits", p.Subnet, p.Range)
	}
	if len(p.Nonce) != 32 || strings.Trim(p.Nonce, "0123456789abcdef") != "" {
		return fmt.Errorf("nonce %q is not 32 hexadecimal digits", p.Nonce)
	}
	return nil
}

// IsSpace reports whether an address space is gvlan's, that is, whether the
// network was made with gvlan as its IPAM driver.
func IsSpace(space string) bool { return space == LocalSpace || space == GlobalSpace }
