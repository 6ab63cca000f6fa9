package swarm_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// prefix is where the agents keep their cluster in etcd.
const prefix = "/gvlan/v1"

// audit waits until etcd says of every address what the engines and the
// swarm say: nothing lost, nothing doubled, nothing leaked.
func (c *cluster) audit() {
	c.t.Helper()
	eventually(c.t, "etcd and engines to agree", c.disagreement)
}

func (c *cluster) disagreement() error {
	want, err := c.wantLeases()
	if err != nil {
		return err
	}
	got, err := c.leases(c.t.Context())
	if err != nil {
		return err
	}
	orphans, err := c.orphans()
	if err != nil {
		return err
	}
	var lines []string
	for _, l := range got {
		host := strings.TrimSuffix(l.Node, ".swarm")
		if l.Kind == store.Service { // no engine knows of it
			continue
		}
		if c.isDown(host) || l.Endpoint == "" && slices.Contains(orphans, l.addr) {
			continue
		}
		lines = append(lines, l.line())
	}
	slices.Sort(lines)
	if diff := cmp.Diff(want, lines); diff != "" {
		return fmt.Errorf("leases (-engines +etcd):\n%s", diff)
	}
	for _, h := range c.Hosts {
		if c.down[h] {
			continue
		}
		if err := strayLinks(h); err != nil {
			return err
		}
	}
	return nil
}

// isDown reports whether a host was taken down, whose leases stay until it is
// back.
func (c *cluster) isDown(host string) bool {
	return slices.ContainsFunc(c.Hosts, func(h *lab.Host) bool { return h.Name == host && c.down[h] })
}

// wantLeases is a line for each endpoint of an engine and each virtual
// address of a service.
func (c *cluster) wantLeases() ([]string, error) {
	containers, err := c.containers()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, x := range containers {
		l := lease{Lease: store.Lease{Node: x.host.Name, Endpoint: x.endpoint}, addr: x.addr}
		if x.network != plain {
			l.Node += ".swarm"
			l.Claims = &store.Claims{Manager: true, Worker: true}
		}
		lines = append(lines, l.line())
	}
	virtual, err := c.virtualAddresses()
	for _, addr := range virtual {
		lines = append(lines, lease{addr: addr, Lease: store.Lease{Claims: &store.Claims{Manager: true}}}.line())
	}
	slices.Sort(lines)
	return lines, err
}

// orphans are the addresses of attachments that the swarm keeps: engine 20.10
// never takes back that of a container which failed to start, and every new
// leader asks for its address again.
func (c *cluster) orphans() (all []netip.Addr, err error) {
	var tasks []struct {
		NetworksAttachments []struct{ Addresses []netip.Prefix }
	}
	if err := c.ask.Engine.Get(c.t.Context(), `/tasks?filters={"runtime":{"attachment":true}}`, &tasks); err != nil {
		return nil, err
	}
	for _, t := range tasks {
		for _, a := range t.NetworksAttachments {
			for _, p := range a.Addresses {
				all = append(all, p.Addr())
			}
		}
	}
	return all, nil
}

// virtualAddresses are those of services on networks of the plugin.
func (c *cluster) virtualAddresses() (all []netip.Addr, err error) {
	var services []struct {
		Endpoint struct{ VirtualIPs []struct{ Addr string } }
	}
	if err := c.ask.Engine.Get(c.t.Context(), "/services", &services); err != nil {
		return nil, err
	}
	for _, s := range services {
		for _, vip := range s.Endpoint.VirtualIPs {
			p, err := netip.ParsePrefix(vip.Addr)
			if err != nil {
				return nil, err
			}
			all = append(all, p.Addr())
		}
	}
	return all, nil
}

// lease is one record of an address that somebody has.
type lease struct {
	store.Lease
	addr netip.Addr
}

// line says who has it, for comparing.
func (l lease) line() string {
	claims := store.Claims{}
	if l.Claims != nil {
		claims = *l.Claims
		claims.Made = "" // no engine knows which one it is
	}
	return fmt.Sprintf("%s: endpoint %.12q on %s, claims %+v", l.addr, l.Endpoint, l.Node, claims)
}

// leases reads them all; reservations are left out.
func (c *cluster) leases(ctx context.Context) (all []lease, err error) {
	got, err := c.store.Get(ctx, prefix+store.AllLeasesSpan().From, clientv3.WithRange(prefix+store.AllLeasesSpan().To))
	if err != nil {
		return nil, err
	}
	for _, kv := range got.Kvs {
		if _, _, rests := store.CooldownOf(strings.TrimPrefix(string(kv.Key), prefix)); rests {
			continue // nobody has it
		}
		l, err := readLease(kv.Key, kv.Value)
		if err != nil {
			return nil, err
		}
		if l.State == store.Leased {
			all = append(all, l)
		}
	}
	return all, nil
}

func readLease(key, value []byte) (lease, error) {
	it := store.Item{Key: strings.TrimPrefix(string(key), prefix), Value: value}
	_, addr, err := store.LeaseOf(it.Key)
	if err != nil {
		return lease{}, err
	}
	rec, err := store.Decode[store.Lease](it)
	return lease{Lease: rec, addr: addr}, err
}

// strayLinks finds container links that did not go with their container. A shim, the
// host's own link beside its containers', stays as long as containers that their host
// reaches.
func strayLinks(h *lab.Host) error {
	links, err := h.Netlink().LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		shim := strings.Contains(l.Attrs().Alias, ":shim:")
		if kind := l.Type(); (kind == "macvlan" || kind == "ipvlan") && !shim {
			return fmt.Errorf("link %s is left in the namespace of %s", l.Attrs().Name, h.Name)
		}
	}
	return nil
}

// owned is nil when one probe gets one answer, through the container's host.
// Silence is asked again: a busy machine may answer late.
func (c *cluster) owned(x container) error {
	for {
		c.probing.Lock()
		answers, err := c.WhoHas(c.t.Context(), x.addr)
		c.probing.Unlock()
		if err != nil {
			return err
		}
		if len(answers) == 0 {
			continue
		}
		if len(answers) != 1 || answers[0].Port != c.LAN.Port(x.host.Machine) {
			return fmt.Errorf("who has %s: %v, want one answer through %s", x.addr, answers, c.LAN.Port(x.host.Machine))
		}
		return nil
	}
}

// forgotten waits until no definition has a name: an agent that is stopped
// before brings the network back when it returns.
func (c *cluster) forgotten(network string) {
	c.t.Helper()
	eventually(c.t, "the definition of "+network+" to go", func() error {
		got, err := c.store.Get(c.t.Context(), prefix+store.NetworkKey(network))
		if err == nil && got.Count > 0 {
			err = fmt.Errorf("it is %s", got.Kvs[0].Value)
		}
		return err
	})
}

// empty waits until etcd has neither lease nor reservation nor network.
func (c *cluster) empty() {
	c.t.Helper()
	eventually(c.t, "nothing to be left", func() error {
		for _, span := range []store.Span{store.AllLeasesSpan(), store.NetworksSpan(), store.EndpointsSpan()} {
			got, err := c.store.Get(c.t.Context(), prefix+span.From, clientv3.WithRange(prefix+span.To))
			if err != nil {
				return err
			}
			if got.Count > 0 {
				return fmt.Errorf("etcd has %d of %s: %s", got.Count, span.From, got.Kvs[0].Value)
			}
		}
		return nil
	})
}
