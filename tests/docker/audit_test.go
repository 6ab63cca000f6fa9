package docker_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// prefix is where the agents keep their cluster in etcd.
const prefix = "/gvlan/v1"

// audit waits until etcd says of every address and endpoint what the engines
// say: nothing lost, nothing doubled, nothing leaked.
func (c *cluster) audit() {
	c.t.Helper()
	eventually(c.t, "etcd and engines to agree", c.disagreement)
}

func (c *cluster) disagreement() error {
	records, err := c.records()
	if err != nil {
		return err
	}
	held, err := c.attachments()
	if err != nil {
		return err
	}
	if diff := cmp.Diff(leasesOf(held), records.leases); diff != "" {
		return fmt.Errorf("leases (-engines +etcd):\n%s", diff)
	}
	if diff := cmp.Diff(endpointsOf(held), records.endpoints); diff != "" {
		return fmt.Errorf("endpoints (-engines +etcd):\n%s", diff)
	}
	if len(records.unexplained) > 0 {
		return fmt.Errorf("reservations that no definition explains: %v", records.unexplained)
	}
	for _, h := range c.Hosts {
		if err := strayLinks(h); err != nil {
			return err
		}
	}
	return nil
}

// attachment is a container's endpoint on a gvlan network as its engine
// tells it.
type attachment struct {
	Host, Network string // name
	Container     string `json:"Name"`
	EndpointID    string
	MacAddress    string
	IPv4Address   string // CIDR, or ""
	IPv6Address   string
}

// attachments lists what the engines have.
func (c *cluster) attachments() ([]attachment, error) {
	var all []attachment
	for _, h := range c.Hosts {
		if h.Engine.Process() == nil {
			continue
		}
		networks, err := engineNetworks(c.t.Context(), h)
		if err != nil {
			return nil, err
		}
		for _, listed := range networks {
			n, err := c.engineNetwork(h, listed.ID)
			if err != nil {
				return nil, err
			}
			for _, a := range n.Containers {
				a.Host, a.Network = h.Name, n.Name
				all = append(all, a)
			}
		}
	}
	return all, nil
}

func leasesOf(all []attachment) []string {
	var lines []string
	for _, a := range all {
		for _, addr := range []string{a.IPv4Address, a.IPv6Address} {
			if p, err := netip.ParsePrefix(addr); err == nil {
				lines = append(lines, leaseLine(p.Addr(), a.Host, a.EndpointID))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func leaseLine(addr netip.Addr, host, endpoint string) string {
	return fmt.Sprintf("%s: endpoint %.12s on %s", addr, endpoint, host)
}

func endpointsOf(all []attachment) []string {
	var lines []string
	for _, a := range all {
		lines = append(lines, fmt.Sprintf("%.12s on %s: %s on %s has %s %s at %s",
			a.EndpointID, a.Host, a.Container, a.Network, a.IPv4Address, a.IPv6Address, a.MacAddress))
	}
	slices.Sort(lines)
	return lines
}

// records is what etcd has, in the words of leasesOf and endpointsOf.
type records struct {
	leases, endpoints []string
	unexplained       []string // reservations in nobody's name
	networks          []string // names of definitions
}

func (c *cluster) records() (records, error) {
	var r records
	defined := map[string]bool{}
	for _, it := range c.list(store.NetworksSpan()) {
		n, err := store.Decode[store.Network](it)
		if err != nil {
			return r, err
		}
		r.networks = append(r.networks, n.Name)
		defined[n.UUID] = true
	}
	local, err := c.localReservations()
	if err != nil {
		return r, err
	}
	for _, it := range c.list(store.AllLeasesSpan()) {
		if err := r.addLease(it, defined, local); err != nil {
			return r, err
		}
	}
	for _, it := range c.list(store.EndpointsSpan()) {
		e, err := store.Decode[store.Endpoint](it)
		if err != nil {
			return r, err
		}
		r.endpoints = append(r.endpoints, fmt.Sprintf("%.12s on %s: %s on %s has %s %s at %s",
			e.Endpoint, e.Node, e.Container.Name, e.Name, e.IPv4, e.IPv6, e.MAC))
	}
	slices.Sort(r.leases)
	slices.Sort(r.endpoints)
	return r, nil
}

// localReservations are the gateways and aux addresses of networks that stay
// on their host, each as "address by node".
func (c *cluster) localReservations() (map[string]bool, error) {
	local := map[string]bool{}
	for _, it := range c.list(store.NodesSpan()) {
		node, err := store.Decode[store.Node](it)
		if err != nil {
			return nil, err
		}
		for _, n := range node.Networks {
			for _, p := range n.Pools {
				for _, addr := range append(slices.Collect(maps.Values(p.Aux)), p.Gateway) {
					local[addr.String()+" by "+node.Node] = true
				}
			}
		}
	}
	return local, nil
}

// addLease sorts one record in. A reservation must be in the name of a
// definition, or of a network that stays on its host.
func (r *records) addLease(it store.Item, defined, local map[string]bool) error {
	if _, _, rests := store.CooldownOf(it.Key); rests {
		return nil // nobody has it
	}
	_, addr, err := store.LeaseOf(it.Key)
	if err != nil {
		return err
	}
	l, err := store.Decode[store.Lease](it)
	if err != nil {
		return err
	}
	if l.State == store.Leased {
		r.leases = append(r.leases, leaseLine(addr, l.Node, l.Endpoint))
		return nil
	}
	for _, by := range l.By {
		_, node, _ := strings.Cut(by, "@")
		if !defined[by] && !local[addr.String()+" by "+node] {
			r.unexplained = append(r.unexplained, fmt.Sprintf("%s by %s", addr, by))
		}
	}
	return nil
}

// list reads a span of the store.
func (c *cluster) list(span store.Span) []store.Item {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience) // a member that is gone does not answer
	defer cancel()
	got := must(c.store.Get(ctx, prefix+span.From, clientv3.WithRange(prefix+span.To)))(c.t)
	var items []store.Item
	for _, kv := range got.Kvs {
		items = append(items, store.Item{Key: strings.TrimPrefix(string(kv.Key), prefix), Value: kv.Value})
	}
	return items
}

// strayLinks finds container links that did not go with their container: a
// running one's is in the container's namespace. A shim stays as long as containers
// that their host reaches.
func strayLinks(h *lab.Host) error {
	links, err := h.Netlink().LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if kind := l.Type(); (kind == "macvlan" || kind == "ipvlan") && !isShim(l) {
			return fmt.Errorf("link %s (%s) is left in the namespace of %s", l.Attrs().Name, kind, h.Name)
		}
	}
	return nil
}

// clear removes every container and network, and waits until etcd has
// nothing of them. After a failure it only makes room for the next scenario.
func (c *cluster) clear() {
	c.t.Helper()
	ctx := context.WithoutCancel(c.t.Context())
	var group errgroup.Group
	for _, h := range c.Hosts {
		if h.Engine.Process() != nil {
			group.Go(func() error { return h.Engine.Clear(ctx) })
		}
	}
	_ = group.Wait()
	if !c.t.Failed() {
		c.undefine(ctx)
	}
	for _, h := range c.Hosts {
		networks, _ := engineNetworks(ctx, h)
		for _, n := range networks {
			_ = h.Engine.Delete(ctx, "/networks/"+n.Name) // another host's removal may be first
		}
	}
	if c.t.Failed() {
		return
	}
	eventually(c.t, "nothing to be left", c.left)
}

// undefine has every network of the cluster removed by gvlan's own command, which
// does not wait two seconds as after a docker network rm, which might be a prune. What
// no agent removes is left to the engines.
func (c *cluster) undefine(ctx context.Context) {
	c.t.Helper()
	var group errgroup.Group
	for _, it := range c.list(store.NetworksSpan()) {
		name := strings.TrimPrefix(it.Key, store.NetworksSpan().From)
		group.Go(func() error {
			for _, h := range c.Hosts {
				if _, err := h.Exec(ctx, c.binary, "network", "rm", "--force", name); err == nil {
					break
				}
			}
			return nil
		})
	}
	_ = group.Wait()
}

// isShim reports whether a link is a host's own beside its containers'.
func isShim(l netlink.Link) bool { return strings.Contains(l.Attrs().Alias, ":shim:") }

// left complains of the first thing that is left of networks.
func (c *cluster) left() error {
	for _, h := range c.Hosts {
		if left := c.networks(h); len(left) > 0 {
			return fmt.Errorf("%s has networks %v", h.Name, left)
		}
		links, err := h.Netlink().LinkList()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(links, isShim) {
			return fmt.Errorf("%s has a shim without containers", h.Name)
		}
	}
	for _, span := range []store.Span{store.NetworksSpan(), store.AllLeasesSpan(), store.DefaultPoolsSpan(), store.RemovalsSpan(), store.ReservationsSpan()} {
		left := slices.DeleteFunc(c.list(span), func(it store.Item) bool {
			_, _, resting := store.CooldownOf(it.Key)
			return resting // ends with its etcd lease
		})
		if len(left) > 0 {
			return fmt.Errorf("etcd has %d records in %s, the first is %s: %s", len(left), span.From, left[0].Key, left[0].Value)
		}
	}
	return c.disagreement()
}

func (c *cluster) removeContainers(h *lab.Host) {
	c.t.Helper()
	if err := h.Engine.Clear(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// subnets lists the subnets of a definition, as etcd has them.
func (c *cluster) subnets(network string) string {
	c.t.Helper()
	for _, it := range c.list(store.NetworksSpan()) {
		n, err := store.Decode[store.Network](it)
		if err != nil {
			c.t.Fatal(err)
		}
		if n.Name != network {
			continue
		}
		var all []string
		for _, p := range n.Created.Pools {
			all = append(all, p.Subnet.String())
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	c.t.Fatalf("etcd has no network %s", network)
	return ""
}

// waitRefs waits until the cluster knows that containers of a host refer to
// a network, running or not.
func (c *cluster) waitRefs(h *lab.Host, container string) {
	c.t.Helper()
	eventually(c.t, "the references of "+h.Name, func() error {
		for _, it := range c.list(store.RefsSpan()) {
			refs, err := store.Decode[store.Refs](it)
			if err != nil {
				return err
			}
			for _, names := range refs.Networks {
				if store.NameOf(it.Key) == h.Name && slices.Contains(names, container) {
					return nil
				}
			}
		}
		return fmt.Errorf("none is by %s", container)
	})
}
