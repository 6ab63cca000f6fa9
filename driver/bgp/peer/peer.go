// Package peer is whom a host speaks BGP with, as a setting spells it. It is apart
// from the speaker so that whoever reads settings links no BGP.
package peer

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// AS is the number of an autonomous system, of four octets (RFC 6793); 0 is none.
type AS uint32

// Port is where BGP speakers listen (RFC 4271).
const Port = 179

// Peer is a router that is spoken with.
type Peer struct {
	Address      netip.AddrPort
	AS           AS
	PasswordFile string // "": the session is not signed
	Password     string // what is in it, as Secret reads it
}

// Numbers that are no network's.
const (
	transAS  AS = 23456          // stands for one of four octets to those that know two only (RFC 6793)
	last16AS AS = math.MaxUint16 // RFC 7300, as is the last of four octets
)

// ParseAS reads the number of an AS. Those that no network may have are refused.
func ParseAS(text string) (AS, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no AS: give a number from 1 to %d, for example 65001", text, uint32(math.MaxUint32-1))
	}
	switch AS(n) {
	case transAS:
		return 0, fmt.Errorf("AS %d stands for numbers of four octets and is no network's: give another, for example 65001", n)
	case last16AS, math.MaxUint32:
		return 0, fmt.Errorf("AS %d is reserved: give another, for example 65001", n)
	}
	return AS(n), nil
}

const example = "give ADDRESS[:PORT],AS[,PASSWORD-FILE], for example 192.168.1.1,65000"

// Parse reads ADDRESS[:PORT],AS[,PASSWORD-FILE]. An IPv6 address with a port is in
// brackets.
func Parse(text string) (Peer, error) {
	words := strings.SplitN(text, ",", 3)
	if len(words) < 2 {
		return Peer{}, fmt.Errorf("%q does not say which AS the peer is of: %s", text, example)
	}
	for i := range words {
		words[i] = strings.TrimSpace(words[i])
	}
	at, err := parseAddress(words[0])
	if err != nil {
		return Peer{}, err
	}
	as, err := ParseAS(words[1])
	if err != nil {
		return Peer{}, fmt.Errorf("peer %s: %w", words[0], err)
	}
	p := Peer{Address: at, AS: as}
	if len(words) == 3 {
		if p.PasswordFile = words[2]; p.PasswordFile == "" {
			return Peer{}, fmt.Errorf("peer %s: no file is named after the last comma: %s", words[0], example)
		}
	}
	return p, nil
}

func parseAddress(text string) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		addr, alone := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
		if alone != nil {
			return at, fmt.Errorf("%q is no address of a peer: %s; IPv6 with a port as [fd00::1]:179", text, example)
		}
		at = netip.AddrPortFrom(addr, Port)
	}
	addr := at.Addr().Unmap()
	if addr.IsUnspecified() || addr.IsMulticast() || at.Port() == 0 {
		return at, fmt.Errorf("no peer is at %s: give the address of a router", text)
	}
	return netip.AddrPortFrom(addr, at.Port()), nil
}

// String is what Parse reads.
func (p Peer) String() string {
	text := fmt.Sprintf("%s,%d", p.Called(), p.AS)
	if p.PasswordFile != "" {
		text += "," + p.PasswordFile
	}
	return text
}

// Called is the peer's address, with its port where that is not BGP's own.
func (p Peer) Called() string {
	if p.Address.Port() == Port {
		return p.Address.Addr().String()
	}
	return p.Address.String()
}

// longestPassword in bytes is Linux's TCP_MD5SIG_MAXKEYLEN, tcp(7).
const longestPassword = 80

// Secret reads the password that signs the session's segments (RFC 2385), without
// the blanks and line ends around it; "" where the peer has no file. What reads the
// file refuses one that is not root's alone.
func (p Peer) Secret(read func(path string) ([]byte, error)) (string, error) {
	if p.PasswordFile == "" {
		return "", nil
	}
	refused := func(err error) (string, error) {
		return "", fmt.Errorf("the password file of BGP peer %s: %w", p.Called(), err)
	}
	content, err := read(p.PasswordFile)
	if err != nil {
		return refused(fmt.Errorf("%w; it is the last word of --bgp-peer", err))
	}
	password := strings.TrimSpace(string(content))
	switch {
	case password == "":
		return refused(fmt.Errorf("%s is empty: write the password that the peer has into it", p.PasswordFile))
	case len(password) > longestPassword:
		return refused(fmt.Errorf("what is in %s is longer than %d bytes, which TCP takes at most: give the peer and this host a shorter one", p.PasswordFile, longestPassword))
	case strings.ContainsAny(password, "\n\x00"):
		return refused(errors.New(p.PasswordFile + " has more than one line: leave the password alone in it"))
	}
	return password, nil
}
