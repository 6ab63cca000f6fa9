// Package drive makes a cluster's life hard: containers come and go on every
// host, and things break, all as a seed says.
package drive

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"gvlan/tests/chaos/cluster"
	"gvlan/tests/chaos/history"
	"gvlan/tests/chaos/ledger"
)

// Network is one that containers are started on.
type Network struct {
	Name   string
	Subnet netip.Prefix
	Aux    netip.Addr // zero for none
}

// capacity is how many containers have room: all but the network's address, the
// broadcast's, the gateway and the aux address.
func (n Network) capacity() int {
	room := 1<<(n.Subnet.Addr().BitLen()-n.Subnet.Bits()) - 3
	if n.Aux.IsValid() {
		room--
	}
	return room
}

// Drive is a run.
type Drive struct {
	*cluster.Cluster
	Seed     uint64
	Book     *history.Book
	Ledger   *ledger.Ledger
	Networks []Network
	Log      func(format string, args ...any)

	turn  sync.RWMutex // held by each fault; wholly by one that needs to be alone
	quiet sync.RWMutex // held by each container's coming and going

	mu     sync.Mutex
	living map[string][]*history.Life // by host
}

// New prepares a run on a cluster.
func New(c *cluster.Cluster, seed uint64, log func(string, ...any)) *Drive {
	d := &Drive{Cluster: c, Seed: seed, Book: history.NewBook(), Log: log, living: map[string][]*history.Life{}}
	d.Ledger = ledger.Open(c.Etcd.Dial, d.Book.Now, d.died)
	d.Networks = []Network{
		{Name: "lan1", Subnet: netip.MustParsePrefix("10.80.0.0/27"), Aux: netip.MustParseAddr("10.80.0.9")},
		{Name: "lan2", Subnet: netip.MustParsePrefix("10.81.0.0/28")},
	}
	return d
}

// died implements ledger.DiedBefore.
func (d *Drive) died(endpoint string, at time.Duration) (died, known bool) {
	for _, l := range d.Book.All() {
		if l.Endpoint != endpoint {
			continue
		}
		if l.Bind.Outcome != history.OK {
			return true, true
		}
		return l.End.Outcome != history.None && l.End.Began <= at || l.Lost > 0 && l.Lost <= at, true
	}
	return false, false
}

func (d *Drive) say(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	d.Book.Say(what)
	d.Log("%8.3fs %s", d.Book.Now().Seconds(), what)
}

// Begin makes the networks, and waits until every host has them.
func (d *Drive) Begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for i, n := range d.Networks {
		var aux map[string]string
		if n.Aux.IsValid() {
			aux = map[string]string{"router": n.Aux.String()}
		}
		makers := d.Hosts[i%len(d.Hosts):][:1]
		if d.Swarm != nil {
			makers = d.Hosts // nobody else makes a local network
		}
		for _, h := range makers {
			if err := cluster.Until(ctx, func() error { return h.CreateNetwork(ctx, n.Name, n.Subnet.String(), aux, nil) }); err != nil {
				return fmt.Errorf("make network %s on %s: %w", n.Name, h.Name, err)
			}
		}
	}
	for _, n := range d.Networks {
		for _, h := range d.Hosts {
			err := cluster.Until(ctx, func() error {
				if !h.Engine.Has(n.Name) {
					return fmt.Errorf("%s has no network %s", h.Name, n.Name)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	if d.Swarm != nil {
		if err := cluster.Until(ctx, func() error { return d.Swarm.Lead(ctx, d.Hosts[0]) }); err != nil {
			return err
		}
	}
	d.say("every host has every network")
	return nil
}

// stream is a source of chances that depends on the seed and its purpose only.
func (d *Drive) stream(purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(d.Seed, purpose)) }

// Containers has containers come and go on every host until ctx ends: several
// hands on each.
func (d *Drive) Containers(ctx context.Context, hands int) {
	var all sync.WaitGroup
	for i, h := range d.Hosts {
		for hand := range hands {
			all.Go(func() { d.hand(ctx, h, d.stream(uint64(100+i*10+hand))) })
		}
	}
	if d.Swarm != nil {
		for hand := range hands {
			all.Go(func() { tasks(ctx, d, d.stream(uint64(200+hand))) })
		}
	}
	all.Wait()
}

func (d *Drive) hand(ctx context.Context, h *cluster.Host, r *rand.Rand) {
	for ctx.Err() == nil {
		pause := time.Duration(r.IntN(60)) * time.Millisecond
		chance, n, pick := r.IntN(100), d.Networks[r.IntN(len(d.Networks))], r.Int()
		d.quiet.RLock()
		switch {
		case chance < 45:
			d.run(h, n, netip.Addr{})
		case chance < 60:
			d.run(h, n, nth(n.Subnet, 1+pick%(1<<(32-n.Subnet.Bits())-2)))
		default:
			d.halt(h, pick)
		}
		d.quiet.RUnlock()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// nth is the n-th address of a subnet.
func nth(p netip.Prefix, n int) netip.Addr {
	at := p.Masked().Addr()
	for range n {
		at = at.Next()
	}
	return at
}

// run starts a container. Its calls outlive the run's end, as dockerd's would.
func (d *Drive) run(h *cluster.Host, n Network, asked netip.Addr) *history.Life {
	life := h.Run(context.Background(), d.Book, n.Name, asked)
	if d.Book.Lives(life) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.living[h.Name] = append(d.living[h.Name], life)
	}
	return life
}

// runOne starts a container that nobody else stops; nil where it does not run.
func (d *Drive) runOne(h *cluster.Host, n Network, asked netip.Addr) *history.Life {
	if life := h.Run(context.Background(), d.Book, n.Name, asked); d.Book.Lives(life) {
		return life
	}
	return nil
}

// network finds one by its name.
func (d *Drive) network(name string) Network {
	for _, n := range d.Networks {
		if n.Name == name {
			return n
		}
	}
	return Network{Name: name}
}

// lose has a host lose its containers, all at once.
func (d *Drive) lose(h *cluster.Host) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.living[h.Name] {
		d.Book.Lose(l)
	}
	d.living[h.Name] = nil
	h.Lose()
}

// halt stops one of the host's containers.
func (d *Drive) halt(h *cluster.Host, pick int) {
	d.mu.Lock()
	all := d.living[h.Name]
	if len(all) == 0 {
		d.mu.Unlock()
		return
	}
	i := pick % len(all)
	life := all[i]
	d.living[h.Name] = append(append([]*history.Life(nil), all[:i]...), all[i+1:]...)
	d.mu.Unlock()
	h.Halt(context.Background(), d.Book, life)
}

// haltAll stops every container of a host.
func (d *Drive) haltAll(h *cluster.Host) {
	for {
		d.mu.Lock()
		left := len(d.living[h.Name])
		d.mu.Unlock()
		if left == 0 {
			return
		}
		d.halt(h, 0)
	}
}
