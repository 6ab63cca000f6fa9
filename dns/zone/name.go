package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Names are kept and looked up in one folded form: lower case, "_" written
// as "-", no trailing dot. A "_" that starts a label is left alone, since
// service labels (RFC 2782) start with one.

// maxName is the longest name in text form without its trailing dot
// (RFC 1035 section 2.3.4: 255 octets on the wire).
const maxName = 253

// foldByte is the folded form of a byte inside a label, or 0 when no name
// of ours holds it.
func foldByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		return c
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_':
		return '-'
	}
	return 0
}

// foldTable is foldByte for every byte, so that the hot path looks up
// instead of comparing.
var foldTable = func() (t [256]byte) { //nolint:gochecknoglobals // a table that is computed
	for i := range t {
		t[i] = foldByte(byte(i))
	}
	return t
}()

// FoldName folds a name as Docker knows it (container, alias, network).
// It fails on a name that cannot stand in the DNS.
func FoldName(name string) (string, bool) {
	folded, ok := foldQuery(make([]byte, 0, len(name)), name)
	if !ok || strings.HasSuffix(name, ".") {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
	}
	return string(folded), true
}

// FoldDomain checks and folds a domain name a user gave.
func FoldDomain(name string) (string, error) {
	folded, ok := FoldName(strings.Trim(name, "."))
	if !ok || strings.Contains(name, "_") {
		return "", fmt.Errorf("dns domain %q is not a domain name: use letters, digits and hyphens between dots, such as gvlan.internal", name)
	}
	return folded, nil
}

// foldQuery folds a name of a question in presentation form into dst. It
// fails on a name that holds a byte none of ours does.
func foldQuery(dst []byte, name string) ([]byte, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxName {
		return nil, false
	}
	start := true
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.':
			start = true
			dst = append(dst, c)
			continue
		case c == '_' && start:
		case foldTable[c] == 0:
			return nil, false
		default:
			c = foldTable[c]
		}
		start = false
		dst = append(dst, c)
	}
	return dst, true
}

// foldWire folds the uncompressed wire name that starts at packet[off] into
// dst and returns where it ends. It fails on what only the other path can
// judge: compression, an odd byte, a name cut short.
func foldWire(dst, packet []byte, off int) (name []byte, end int, ok bool) {
	for {
		if off >= len(packet) {
			return nil, 0, false
		}
		n := int(packet[off])
		off++
		if n == 0 {
			return dst, off, len(dst) > 0 && len(dst) <= maxName
		}
		if n > 63 || off+n > len(packet) || len(dst)+n+1 > maxName+1 {
			return nil, 0, false
		}
		if len(dst) > 0 {
			dst = append(dst, '.')
		}
		for i, c := range packet[off : off+n] {
			if c != '_' || i > 0 {
				if c = foldTable[c]; c == 0 {
					return nil, 0, false
				}
			}
			dst = append(dst, c)
		}
		off += n
	}
}

// The two trees of reverse names (RFC 1035 section 3.5, RFC 3596
// section 2.5).
const (
	reverse4 = ".in-addr.arpa"
	reverse6 = ".ip6.arpa"
)

// reversePrefix reads a reverse name: a full one is a single address, a
// shorter one the prefix below which addresses lie.
func reversePrefix(name []byte) (netip.Prefix, bool) {
	if labels, ok := cutSuffix(name, reverse4); ok {
		return reverseDecimal(labels)
	}
	if labels, ok := cutSuffix(name, reverse6); ok {
		return reverseHex(labels)
	}
	return netip.Prefix{}, false
}

// cutSuffix is bytes.CutSuffix for a string suffix.
func cutSuffix(name []byte, suffix string) ([]byte, bool) {
	n := len(name) - len(suffix)
	if n <= 0 || string(name[n:]) != suffix {
		return nil, false
	}
	return name[:n], true
}

// reverseDecimal reads "4.3.2.1" as 1.2.3.4/32 and "2.1" as 1.2.0.0/16.
func reverseDecimal(labels []byte) (netip.Prefix, bool) {
	var raw [4]byte
	var octets [4]byte
	count, value, digits := 0, 0, 0
	for i := 0; i <= len(labels); i++ {
		if i < len(labels) && labels[i] != '.' {
			c := labels[i]
			if c < '0' || c > '9' || digits > 0 && value == 0 {
				return netip.Prefix{}, false
			}
			value, digits = value*10+int(c-'0'), digits+1
			if value > 255 {
				return netip.Prefix{}, false
			}
			continue
		}
		if digits == 0 || count == 4 {
			return netip.Prefix{}, false
		}
		octets[count] = byte(value)
		count, value, digits = count+1, 0, 0
	}
	for i := range count {
		raw[i] = octets[count-1-i]
	}
	return netip.PrefixFrom(netip.AddrFrom4(raw), count*8), true
}

// reverseHex reads nibbles, lowest first.
func reverseHex(labels []byte) (netip.Prefix, bool) {
	count := (len(labels) + 1) / 2
	if len(labels)%2 == 0 || count > 32 {
		return netip.Prefix{}, false
	}
	var raw [16]byte
	for i := range count {
		c := labels[len(labels)-1-2*i]
		if i > 0 && labels[len(labels)-2*i] != '.' {
			return netip.Prefix{}, false
		}
		var nibble byte
		switch {
		case '0' <= c && c <= '9':
			nibble = c - '0'
		case 'a' <= c && c <= 'f':
			nibble = c - 'a' + 10
		default:
			return netip.Prefix{}, false
		}
		raw[i/2] |= nibble << (4 * (1 - i%2))
	}
	return netip.PrefixFrom(netip.AddrFrom16(raw), count*4), true
}

// reverseName writes the reverse name of a prefix whose length is a whole
// number of labels (octets for IPv4, nibbles for IPv6), with its trailing
// dot.
func reverseName(prefix netip.Prefix) string {
	var labels []string
	raw := prefix.Addr().AsSlice()
	if prefix.Addr().Is4() {
		for _, octet := range raw[:prefix.Bits()/8] {
			labels = append(labels, strconv.Itoa(int(octet)))
		}
		slices.Reverse(labels)
		return strings.Join(append(labels, "in-addr", "arpa"), ".") + "."
	}
	for i := range prefix.Bits() / 4 {
		labels = append(labels, string("0123456789abcdef"[raw[i/2]>>(4*(1-i%2))&0xf]))
	}
	slices.Reverse(labels)
	return strings.Join(append(labels, "ip6", "arpa"), ".") + "."
}

// reverseZones returns the reverse zones that cover a subnet exactly, or,
// for an IPv4 subnet smaller than a /24 (and an IPv6 one beyond the last
// nibble), the one that encloses it.
func reverseZones(subnet netip.Prefix) []netip.Prefix {
	step, longest := 4, 124
	if subnet.Addr().Is4() {
		step, longest = 8, 24
	}
	bits := subnet.Bits()
	if bits > longest {
		zone, _ := subnet.Addr().Prefix(longest)
		return []netip.Prefix{zone}
	}
	aligned := (bits + step - 1) / step * step
	zones := make([]netip.Prefix, 0, 1<<(aligned-bits))
	raw := subnet.Masked().Addr().AsSlice()
	for i := range 1 << (aligned - bits) {
		zone := slices.Clone(raw)
		if aligned > 0 {
			zone[(aligned-1)/8] |= byte(i) << ((8 - aligned%8) % 8)
		}
		addr, _ := netip.AddrFromSlice(zone)
		zones = append(zones, netip.PrefixFrom(addr, aligned))
	}
	return zones
}
