package members

import (
	"fmt"
	"net"
	"strconv"
)

// Addresses are where a host serves the cluster's own store: host:port each,
// with ports that follow one another.
type Addresses struct {
	Client string // the base address, which people are told
	Peer   string // where other members reach it: the port after it
	Door   string // where others join: the port after that
}

// AddressesOf derives the addresses of a host from its base address.
func AddressesOf(base string) (Addresses, error) {
	host, text, err := net.SplitHostPort(base)
	if err != nil {
		return Addresses{}, fmt.Errorf("read base address %q: %w", base, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return Addresses{}, fmt.Errorf("read base address %q: %w", base, err)
	}
	if host == "" || port == 0 || port > 65533 {
		return Addresses{}, fmt.Errorf("read base address %q: want HOST:PORT, with a port of at most 65533", base)
	}
	after := func(n uint64) string { return net.JoinHostPort(host, strconv.FormatUint(port+n, 10)) }
	return Addresses{Client: after(0), Peer: after(1), Door: after(2)}, nil
}
