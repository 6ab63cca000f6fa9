package pool

import (
	"fmt"
	"net/netip"
	"strconv"
)

// The lengths that block= takes, of IPv4: 4 to 65,536 addresses. Fewer save no
// route, and more are no part of a subnet that anybody has.
const (
	widestBlock    = 16
	narrowestBlock = 30
)

// usualBlock is that of a network that routes, where block= does not say: 64
// addresses, as many containers as many hosts have.
const usualBlock = 26

// usualBlocks is the fewest blocks that a subnet is dealt out in which block= does
// not ask for, as a power of two: a /24 is, and a /25 would not reach for three hosts.
const usualBlocks = 2

// noBlocks is block= that deals out nothing.
const noBlocks = "off"

// block is how a network's subnets are dealt out to hosts.
type block struct {
	said bool // by block=
	bits int  // of an IPv4 block; 0: in none
}

// parseBlock reads the length of a block, as 26, or off.
func parseBlock(text string) (block, error) {
	if text == noBlocks {
		return block{said: true}, nil
	}
	bits, err := strconv.Atoi(text)
	if err != nil || bits < widestBlock || bits > narrowestBlock {
		return block{}, fmt.Errorf("block=%s: give the length of an IPv4 block from %d to %d, as block=%d for 64 addresses (of IPv6 as many), or block=%s", text, widestBlock, narrowestBlock, usualBlock, noBlocks)
	}
	return block{true, bits}, nil
}

// in is Options.BlockIn.
func (b block) in(subnet netip.Prefix, routed bool) (bits int, ok bool) {
	fewest := 1
	if !b.said {
		b.bits, fewest = usualBlock, usualBlocks
	}
	if !routed || b.bits == 0 {
		return 0, false
	}
	const v4 = 32
	bits = subnet.Addr().BitLen() - (v4 - b.bits)
	if bits-subnet.Bits() < fewest {
		return 0, false
	}
	return bits, true
}

// CheckBlock refuses --ipam-opt block= of a network that does not route, and of one
// that has no subnet larger than a block. It is asked when all of a network's pools
// are known.
func (a Addressing) CheckBlock(routed bool) error {
	o, err := ParseOptions(a.Options)
	if err != nil || o.block.bits == 0 {
		return err
	}
	if !routed {
		return fmt.Errorf("--ipam-opt %s=%d: only ipvlan networks of mode l3 and l3s are dealt out in blocks, since only they have routes: leave it out, or give -o ipvlan_mode=l3", optBlock, o.block.bits)
	}
	for _, p := range a.Pools {
		if _, ok := o.BlockIn(p.Subnet, routed); ok {
			return nil
		}
	}
	return fmt.Errorf("--ipam-opt %s=%d: no subnet of the network is larger than a block: give a longer one (up to %d), or leave it out", optBlock, o.block.bits, narrowestBlock)
}

// CheckNoBlock refuses --ipam-opt block= of a network of the swarm.
func (a Addressing) CheckNoBlock() error {
	o, err := ParseOptions(a.Options)
	if err != nil || o.block.bits == 0 {
		return err
	}
	return fmt.Errorf("--ipam-opt %s=%d: a swarm's manager chooses addresses before it chooses hosts, so that none has a block: leave it out", optBlock, o.block.bits)
}
