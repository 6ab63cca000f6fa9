package main

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

// containers is how many there are on all hosts.
const containers = 10_000

// moves is how often one of them then ends and another one begins on any host: of all
// that run, ten generations.
const moves = 10 * containers

// blocks counts the routes that a host has to the containers of all others, as these
// are placed at random, one after the other, and as they come and go for long:
//
//	routes_HOSTS_LENGTH           of a subnet of that length, with the usual blocks
//	routes_HOSTS_LENGTH_off       with block=off: one for each container elsewhere
//	routes_HOSTS_LENGTH_moved     with blocks, once each container was replaced ten times
//
// Each is the mean over all hosts. Every host knows at once what others have: what
// they choose at one moment is not looked at, since it costs one of them a retry.
func blocks() error {
	for _, size := range []struct {
		hosts  int
		subnet string
	}{{10, "10.0.0.0/16"}, {100, "10.0.0.0/16"}, {1000, "10.0.0.0/16"}, {1000, "10.0.0.0/18"}, {1000, "fd00::/64"}} {
		subnet := netip.MustParsePrefix(size.subnet)
		length, ok := pool.Options{}.BlockIn(subnet, true)
		if !ok {
			return fmt.Errorf("%s is dealt out in no blocks", subnet)
		}
		name := fmt.Sprintf("routes_%d_%d", size.hosts, subnet.Bits())
		f := newFleet(subnet, length, size.hosts)
		for range containers {
			if err := f.start(); err != nil {
				return err
			}
		}
		figure(name, f.routes())
		figure(name+"_off", containers-containers/size.hosts)
		for range moves {
			f.stop()
			if err := f.start(); err != nil {
				return err
			}
		}
		figure(name+"_moved", f.routes())
	}
	return nil
}

// fleet are hosts that give their containers addresses of one subnet.
type fleet struct {
	length int // of a block
	known  *mirror.Mirror
	at     store.Revision
	drawn  *rand.Rand
	own    []*addrset.Set // by host
	all    []running
}

// running is a container.
type running struct {
	host int
	addr netip.Addr
}

func newFleet(subnet netip.Prefix, length, hosts int) *fleet {
	source := rand.NewPCG(1, 2)
	f := &fleet{length: length, known: mirror.New(pool.DefaultSegment, subnet, source), at: 1, drawn: rand.New(source)}
	f.known.Begin(0)
	f.known.Apply(store.Change{Reset: true, Revision: f.at})
	for range hosts {
		f.own = append(f.own, &addrset.Set{})
	}
	return f
}

// start runs a container on any host.
func (f *fleet) start() error {
	host := f.drawn.IntN(len(f.own))
	addr, ok := f.known.Choose(mirror.Want{
		Ranges: []netip.Prefix{f.known.Subnet}, Order: pool.Lowest,
		Blocks: mirror.Blocks{Bits: f.length, Node: fmt.Sprintf("host%d", host), Own: f.own[host : host+1], Others: &addrset.Set{}},
	}, false)
	if !ok {
		return errors.New("no address is free")
	}
	f.own[host].Add(addrset.Single(addr))
	f.learn(addr, mirror.Taken)
	f.all = append(f.all, running{host, addr})
	return nil
}

// stop ends any container.
func (f *fleet) stop() {
	i := f.drawn.IntN(len(f.all))
	ended := f.all[i]
	f.all[i] = f.all[len(f.all)-1]
	f.all = f.all[:len(f.all)-1]
	f.own[ended.host].Remove(addrset.Single(ended.addr))
	f.learn(ended.addr, mirror.Free)
}

// learn has all hosts know what became of an address.
func (f *fleet) learn(addr netip.Addr, shown mirror.Shown) {
	f.at++
	f.known.Learn(addr, shown, f.at)
	f.known.Apply(store.Change{Revision: f.at})
}

// routes is how many a host has on average: one to each block of another host, one to
// each address that is not of the host that has most of its block, and one that
// keeps what is not given of an own block from going around in a circle.
func (f *fleet) routes() int {
	in := map[netip.Prefix]map[int]int{} // addresses of a block by host
	for _, c := range f.all {
		block := netip.PrefixFrom(c.addr, f.length).Masked()
		if in[block] == nil {
			in[block] = map[int]int{}
		}
		in[block][c.host]++
	}
	routes := 0 // of all hosts
	for _, of := range in {
		owner := -1
		for host, count := range of {
			if owner < 0 || cmp.Or(cmp.Compare(count, of[owner]), cmp.Compare(owner, host)) > 0 {
				owner = host
			}
		}
		routes += len(f.own) // to the block, or against a circle
		for host, count := range of {
			if host != owner {
				routes += count * (len(f.own) - 1)
			}
		}
	}
	return routes / len(f.own)
}
