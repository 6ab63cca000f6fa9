package ipam

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/ipam/pool"
	"gvlan/ipam/wanted"
)

// routed is a network of mode l3.
func (h *host) routed(f flags) *lan {
	h.c.Helper()
	n := h.mustCreateWith(f)
	made := journal.Network{ID: n.id, Stage: journal.StageCommitted, Options: option.Options{Kind: link.Ipvlan, Mode: link.L3}}
	h.must(h.Memory.Change(func(c *journal.Change) error {
		c.Put(made)
		return nil
	}))
	return n
}

// blocks are those of so many bits in which containers have addresses.
func blocks(bits int, all ...*container) []string {
	in := map[string]bool{}
	for _, ct := range all {
		for _, addr := range ct.addrs {
			if addr.Addr().Is4() == (bits <= 32) {
				in[netip.PrefixFrom(addr.Addr(), bits).Masked().String()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(in))
}

// heard waits until every host's mirrors have a container's addresses.
func (c *cluster) heard(ct *container) {
	c.Helper()
	for _, h := range c.hosts {
		for _, addr := range ct.addrs {
			m := h.Mirrors.Of("default", addr.Masked())
			h.waitFor(h.name+" hears of "+addr.String(), func() bool { return m.Has(addr.Addr()) })
		}
	}
}

// TestHostsTakeFromBlocksOfTheirOwn: IPv4 and IPv6; who comes first begins at the
// subnet's beginning. An agent that starts again goes on where its host has addresses.
func TestHostsTakeFromBlocksOfTheirOwn(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		of := map[string][]*container{}
		var lans []*lan
		for _, name := range []string{"h1", "h2", "h3"} {
			n := c.host(name).routed(flags{subnets: []string{"10.0.0.0/24", "fd00::/64"}})
			n.h.ready()
			lans = append(lans, n)
		}
		run := func(n *lan) {
			ct := n.mustRun("", "")
			of[n.h.name] = append(of[n.h.name], ct)
			c.heard(ct)
		}
		for range 5 {
			for _, n := range lans {
				run(n)
			}
		}
		if got := of["h1"][0].ip(); got != "10.0.0.2" {
			c.Errorf("the first container has %s, want 10.0.0.2", got)
		}
		lans[1].h.restart()
		run(lans[1])
		in := map[string]string{}
		for name, all := range of {
			for _, bits := range []int{26, 122} {
				own := blocks(bits, all...)
				if len(own) != 1 || in[own[0]] != "" {
					c.Errorf("%s has addresses in %v, of which %s has some", name, own, in[own[0]])
				}
				in[own[0]] = name
			}
		}
	})
}

// TestNoBlocks: as it is without, the lowest free address, where a network or a
// subnet has none.
func TestNoBlocks(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		for _, f := range []flags{
			{subnets: []string{"10.0.0.0/24"}, opts: map[string]string{"block": "off"}},
			{subnets: []string{"10.0.1.0/25"}},
			{subnets: []string{"10.0.2.0/28"}, opts: map[string]string{"block": "28"}},
		} {
			var all []*container
			for _, name := range []string{"h1", "h2", "h3"} {
				i := slices.IndexFunc(c.hosts, func(h *host) bool { return h.name == name })
				if i < 0 {
					c.host(name)
					i = len(c.hosts) - 1
				}
				n := c.hosts[i].routed(f)
				n.h.ready()
				all = append(all, n.mustRun("", ""))
				if got := all[len(all)-1].addrs[0].Addr().As4()[3]; int(got) != 1+len(all) {
					c.Errorf("%s is given .%d, want .%d", name, got, 1+len(all))
				}
			}
		}
	})
}

// TestBlocksRunOut: the last free address of a pool is given to whoever asks, and
// what is in a host's own block before what is in another's.
func TestBlocksRunOut(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		f := flags{subnets: []string{"10.0.0.0/27"}, opts: map[string]string{"block": "29"}}
		n1, n2 := c.host("h1").routed(f), c.host("h2").routed(f)
		n1.h.ready()
		n2.h.ready()
		first, other := n1.mustRun("", ""), (*container)(nil)
		c.heard(first)
		other = n2.mustRun("", "")
		c.heard(other)
		all := []*container{first, other}
		for range 27 {
			ct := n1.mustRun("", "")
			all = append(all, ct)
			if left := 29 - len(all); left >= 7 && slices.Equal(blocks(29, ct), blocks(29, other)) {
				c.Errorf("%s is in the block of h2, and %d addresses are free elsewhere", ct.ip(), left-7)
			}
		}
		given := map[string]bool{}
		for _, ct := range all {
			given[ct.ip()] = true
		}
		if len(given) != 29 {
			c.Errorf("%d addresses are given, want 29", len(given))
		}
		_, err := n2.run("", "")
		checkErr(c, err, "every address of 10.0.0.0/27 is taken")
		first.stop()
		if ct := n2.mustRun("", ""); ct.ip() != first.ip() {
			c.Errorf("given %s, want %s, the only free one", ct.ip(), first.ip())
		}
	})
}

// TestStoppedContainersHoldTheirHostsBlock: a host whose containers are all stopped, as
// it boots anew, goes on in its block, which no other host has begun meanwhile.
func TestStoppedContainersHoldTheirHostsBlock(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h1, h2 := c.host("h1"), c.host("h2")
		for _, tt := range []struct {
			subnet, stopped string // of h1
			first           *host
			want            map[*host]string
		}{
			{"10.0.0.0/25", "10.0.0.2", h2, map[*host]string{h1: "10.0.0.3", h2: "10.0.0.64"}},
			{"10.0.1.0/25", "10.0.1.70", h1, map[*host]string{h1: "10.0.1.64", h2: "10.0.1.2"}},
		} {
			f := flags{subnets: []string{tt.subnet}, opts: map[string]string{"block": "26"}}
			lans := []*lan{h1.routed(f), h2.routed(f)}
			stopped := wanted.Address{Segment: pool.DefaultSegment, Address: netip.MustParseAddr(tt.stopped)}
			h2.Avoid([]wanted.Address{stopped})
			stopped.Network, stopped.Container = lans[0].id, "db" // one of its own
			h1.Avoid([]wanted.Address{stopped})
			if tt.first == h2 {
				slices.Reverse(lans)
			}
			for _, n := range lans {
				n.h.ready()
				ct := n.mustRun("", "")
				if ct.ip() != tt.want[n.h] {
					c.Errorf("%s is given %s, want %s", n.h.name, ct.ip(), tt.want[n.h])
				}
				c.heard(ct)
			}
		}
	})
}

// TestHostsThatMeetInABlock: hosts that choose at once have each address once, also
// those that all begin in one block, as none knows of the others.
func TestHostsThatMeetInABlock(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		const each = 18
		var mu sync.Mutex
		given := map[string]string{}
		var work sync.WaitGroup
		f := flags{subnets: []string{"10.0.0.0/26"}, opts: map[string]string{"block": "28"}}
		for _, name := range []string{"h1", "h2", "h3"} {
			n := c.host(name).routed(f)
			for range each {
				work.Go(func() {
					ct, err := n.run("", "")
					if err != nil {
						c.Errorf("run on %s: %v", name, err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if other := given[ct.ip()]; other != "" {
						c.Errorf("%s was given on %s and on %s", ct.ip(), other, name)
					}
					given[ct.ip()] = name
				})
			}
		}
		work.Wait()
		if len(given) != 3*each {
			c.Errorf("%d distinct addresses, want %d", len(given), 3*each)
		}
	})
}
