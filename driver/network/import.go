package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/option"
	"gvlan/driver/parent"
	"gvlan/driver/plan"
	"gvlan/driver/publish"
	"gvlan/driver/visible"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// Imports turns networks of other drivers into ones of the cluster.
type Imports struct{ *host.Host }

// NewImports works on a host.
func NewImports(h *host.Host) *Imports { return &Imports{h} }

// ErrImport: the network cannot be taken over as it is.
var ErrImport = errors.New("cannot import")

// Import gives a built-in macvlan or ipvlan network of this host a definition
// of the same name, and holds the addresses of its containers, so that nobody
// else gets them before they move over.
func (im *Imports) Import(ctx context.Context, name string) (Imported, error) {
	old, err := im.builtIn(ctx, name)
	if err != nil {
		return Imported{}, err
	}
	_, err = im.Definition(ctx, name)
	if err == nil {
		return Imported{}, taken(name)
	}
	if !errors.Is(err, host.ErrNoNetwork) {
		return Imported{}, err
	}
	def, gateway, err := im.importDefinition(old)
	if err != nil {
		return Imported{}, err
	}
	containers, err := im.Cfg.Engine.Containers(ctx)
	if err != nil {
		return Imported{}, err
	}
	imported := Imported{Name: name, Driver: old.Driver}
	var held []netip.Addr
	for _, c := range containers {
		if !slices.ContainsFunc(c.Attachments, func(a engine.Attachment) bool { return a.Network == name }) {
			continue
		}
		full, err := im.Cfg.Engine.Container(ctx, c.ID) // a list knows the addresses only
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return Imported{}, err
		}
		for _, a := range full.Attachments {
			if a.Network != name {
				continue
			}
			four, six := AttachedAddresses(a)
			imported.Containers = append(imported.Containers, NewImportedContainer(full, a, old.Driver))
			held = append(held, four, six)
		}
	}
	return imported, im.commitImport(ctx, def, gateway, held)
}

// taken refuses a name that has a definition. Importing twice is refused
// before anything is held a second time.
func taken(name string) error {
	return fmt.Errorf("%w: a network of the cluster is called %s already", ErrImport, name)
}

// builtIn finds the network and checks that its kind can be taken over.
func (im *Imports) builtIn(ctx context.Context, name string) (engine.Network, error) {
	networks, err := im.Cfg.Engine.Networks(ctx, "")
	if err != nil {
		return engine.Network{}, err
	}
	i := slices.IndexFunc(networks, func(n engine.Network) bool { return n.Name == name })
	switch {
	case i < 0:
		return engine.Network{}, fmt.Errorf("%w: this host's engine has no network %s", ErrImport, name)
	case networks[i].Driver == im.Cfg.Name:
		return engine.Network{}, fmt.Errorf("%w: network %s is gvlan's already", ErrImport, name)
	case !onLAN(networks[i]):
		return engine.Network{}, fmt.Errorf("%w: network %s is of driver %s: only macvlan and ipvlan networks are on the LAN", ErrImport, name, networks[i].Driver)
	case !ofHost(networks[i]):
		return engine.Network{}, fmt.Errorf("%w: network %s is the swarm's", ErrImport, name)
	}
	return im.Cfg.Engine.Network(ctx, networks[i].ID)
}

// onLAN reports whether a network is of a built-in driver whose containers are on
// the LAN.
func onLAN(n engine.Network) bool { return n.Driver == "macvlan" || n.Driver == "ipvlan" }

// ofHost reports whether a network is this host's, and one that containers can be on.
func ofHost(n engine.Network) bool { return n.Scope == engine.ScopeLocal && !n.ConfigOnly }

// Importable names the networks of this host that Import may take, in order.
func (im *Imports) Importable(ctx context.Context) ([]string, error) {
	all, err := im.Cfg.Engine.Networks(ctx, "")
	names := []string{}
	for _, n := range all {
		if onLAN(n) && ofHost(n) {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names, err
}

// importDefinition is the definition a gvlan network like it has, and whether
// its pools have gateways that the user did not name.
func (im *Imports) importDefinition(old engine.Network) (def store.Network, gateway bool, err error) {
	options := map[string]string{}
	for k, v := range old.Options {
		options[k] = v
	}
	if old.Driver == "ipvlan" && options["ipvlan_mode"] == "" {
		options["ipvlan_mode"] = "l2"
	}
	o, err := option.Parse(options)
	if err != nil {
		return def, false, fmt.Errorf("%w %s: %w", ErrImport, old.Name, err)
	}
	n := journal.Network{Options: o, Internal: old.Internal}
	if err := parent.Check(n); err != nil {
		return def, false, fmt.Errorf("%w %s: %w", ErrImport, old.Name, err)
	}
	def = store.Network{
		UUID: uuid.NewString(), Name: old.Name, State: store.NetworkActive, Scope: store.ScopeGlobal,
		Origin: im.Self.Node(), Since: im.Milliseconds() / 1000,
		Created: store.Definition{
			IPv4: old.IPv4, IPv6: old.IPv6, Internal: old.Internal, Attachable: old.Attachable,
			Options: options, Labels: plan.UserLabels(old.Labels), Segment: pool.DefaultSegment,
		},
	}
	for _, p := range old.IPAM.Pools {
		def.Created.Pools = append(def.Created.Pools, store.Pool{Subnet: p.Subnet.Masked(), Range: p.Range, Gateway: p.Gateway, Aux: p.Aux, Asked: p.Gateway.IsValid()})
	}
	if len(def.Created.Pools) == 0 {
		return def, false, fmt.Errorf("%w: network %s has no subnet", ErrImport, old.Name)
	}
	return def, o.HasGateway(old.Internal), nil
}

// AttachedAddresses are what a container has, or will ask for when it is
// stopped.
func AttachedAddresses(a engine.Attachment) (four, six netip.Addr) {
	four, six = a.IPv4.Addr(), a.IPv6.Addr()
	if !four.IsValid() {
		four = a.Settings.IPv4
	}
	if !six.IsValid() {
		six = a.Settings.IPv6
	}
	return four, six
}

// commitImport opens the pools as a create would, holds the addresses, and
// commits the definition. Reservations and leases that come to nothing are
// given up by reconcile.
func (im *Imports) commitImport(ctx context.Context, def store.Network, gateway bool, held []netip.Addr) (refused error) {
	network := store.ImportNetwork(def.UUID)
	defer func() {
		if refused != nil {
			refused = errors.Join(refused, im.closeImport(network))
		}
	}()
	for i, p := range def.Created.Pools {
		opened, err := im.openImported(ctx, network, &def.Created.Pools[i], p.Asked || gateway)
		if err != nil {
			return err
		}
		for _, addr := range held {
			if !addr.IsValid() || !p.Subnet.Contains(addr) {
				continue
			}
			if _, err := im.Addresses.RequestAddress(ctx, ipam.AddressRequest{PoolID: opened, Address: addr.String()}); err != nil {
				return fmt.Errorf("%w: hold the address of a container: %w", ErrImport, err)
			}
		}
	}
	conds, ops, err := im.Addresses.ReserveFor(ctx, def.UUID, network)
	if err != nil {
		return err
	}
	key := store.NetworkKey(def.Name)
	res, err := im.Cfg.KV.Commit(ctx, store.Txn{
		If:   append(conds, store.Absent(key)),
		Then: append(ops, store.Put(key, store.Encode(def))),
	})
	if err != nil {
		return err
	}
	if !res.Done {
		return taken(def.Name)
	}
	im.Log.Info("imported a built-in network", "network", def.Name, "uuid", def.UUID)
	tellMade(im.Host, def, "imported from one of Docker's own")
	return im.Memory.Change(func(c *journal.Change) error {
		im.Addresses.Adopt(c, network, def, res.Revision)
		return nil
	})
}

func isImport(network string) bool {
	_, is := store.ImportNetworkOf(network)
	return is
}

// imported are the uuids of networks among those that addresses are held for.
func imported(joined []string) (uuids []string) {
	for _, name := range joined {
		if uuid, is := store.ImportNetworkOf(name); is {
			uuids = append(uuids, uuid)
		}
	}
	return uuids
}

// CloseImports lets go of imports whose network stands here and whose
// addresses were all taken over or given up, and of those whose definition is
// gone, or never came to be.
func (im *Imports) CloseImports(s *host.Suspects, held []ipam.Held, away int) error {
	stands := map[string]bool{}
	for _, n := range im.Memory.Networks() {
		stands[store.ImportNetwork(n.UUID)] = n.Bound()
	}
	definitions, listed := im.Tables.Networks.Rows()
	defined := map[string]bool{}
	for _, def := range definitions {
		defined[store.ImportNetwork(def.Record.UUID)] = true
	}
	buried := map[string]bool{}
	tombstones, _ := im.Tables.Tombstones.Rows()
	for _, grave := range tombstones {
		buried[store.ImportNetwork(grave.Record.Network.UUID)] = true
	}
	trusted := listed && im.Self.Trusted() == nil
	for _, name := range im.Addresses.Joined() {
		if !isImport(name) {
			continue
		}
		holds := slices.ContainsFunc(held, func(h ipam.Held) bool { return h.Network == name })
		gone := trusted && !defined[name] && (buried[name] || s.Proven(name, im.Now(), away))
		if !gone && (!stands[name] || holds) {
			continue
		}
		if err := im.closeImport(name); err != nil {
			return err
		}
	}
	return nil
}

// openImported opens one pool and reserves its aux addresses, and its gateway
// where it has one.
func (im *Imports) openImported(ctx context.Context, network string, p *store.Pool, gateway bool) (string, error) {
	request := ipam.PoolRequest{Space: pool.LocalSpace, Pool: p.Subnet.String()}
	if p.Range.IsValid() {
		request.SubPool = p.Range.String()
	}
	opened, err := im.Addresses.RequestPool(ctx, request)
	if err != nil {
		return "", err
	}
	if gateway {
		got, err := im.Addresses.RequestAddress(ctx, ipam.AddressRequest{
			PoolID: opened.ID, Address: string(p.Gateway.AppendTo(nil)),
			Options: map[string]string{"RequestAddressType": "com.docker.network.gateway"},
		})
		if err != nil {
			return "", err
		}
		p.Gateway = got.Addr()
	}
	for _, aux := range p.Aux {
		if _, err := im.Addresses.RequestAddress(ctx, ipam.AddressRequest{PoolID: opened.ID, Address: aux.String()}); err != nil {
			return "", err
		}
	}
	data := pool.Data{Space: pool.LocalSpace, Subnet: p.Subnet, Gateway: p.Gateway, Aux: p.Aux}
	return opened.ID, im.Memory.Change(func(c *journal.Change) error {
		im.Addresses.Attach(c, network, []pool.Data{data}, im.Now())
		return nil
	})
}

// closeImport closes the pools of an import.
func (im *Imports) closeImport(network string) error {
	return im.Memory.Change(func(c *journal.Change) error {
		im.Addresses.Detach(c, network)
		return nil
	})
}

// Imported is a built-in network that has a definition now.
type Imported struct {
	Name       string              `json:"name"`
	Driver     string              `json:"driver"` // whose it still is on this host
	Containers []ImportedContainer `json:"containers"`
}

// ImportedContainer is a container on it, with the addresses held for it and
// what else it was given there.
type ImportedContainer struct {
	Name       string            `json:"name"`
	IPv4       string            `json:"ipv4,omitempty"`
	IPv6       string            `json:"ipv6,omitempty"`
	LinkLocal  []string          `json:"linkLocal,omitempty"`
	Aliases    []string          `json:"aliases,omitempty"`
	Links      []string          `json:"links,omitempty"`
	DriverOpts map[string]string `json:"driverOpts,omitempty"` // a MAC that was asked for among them
	GwPriority int               `json:"gwPriority,omitempty"`
	Doubt      string            `json:"doubt,omitempty"` // what of it Docker does not tell
}

// NewImportedContainer is what moves a container over.
func NewImportedContainer(c engine.ContainerDetail, a engine.Attachment, driver string) ImportedContainer {
	four, six := AttachedAddresses(a)
	moved := ImportedContainer{
		Name: c.Name, IPv4: string(four.AppendTo(nil)), IPv6: string(six.AppendTo(nil)),
		Aliases: publish.NameAliases(c, a), Links: a.Settings.Links, DriverOpts: a.Settings.DriverOpts, GwPriority: a.Settings.GwPriority,
	}
	for _, addr := range a.Settings.LinkLocal {
		moved.LinkLocal = append(moved.LinkLocal, addr.String())
	}
	first := a.Network == c.NetworkMode || a.NetworkID == c.NetworkMode
	switch {
	case driver != "macvlan": // ipvlan's are the parent's
	case len(a.Settings.MAC) > 0:
		moved.DriverOpts = option.WithMAC(moved.DriverOpts, a.Settings.MAC)
	case !first && len(a.MAC) > 0 && !dockersMAC(a.MAC, four):
		moved.Doubt = fmt.Sprintf("Docker does not report whether %s asked for its MAC on this network: to keep it, add --driver-opt %s=%s", c.Name, option.KeyMAC, a.MAC)
	}
	return moved
}

// dockersMAC reports whether a MAC is the one that engines before 28 make of an
// address.
func dockersMAC(mac net.HardwareAddr, addr netip.Addr) bool {
	return addr.Is4() && slices.Equal(mac, append([]byte{0x02, 0x42}, addr.AsSlice()...))
}

// Steps are what is left to the user, in order: Docker cannot change the
// driver of a network in place.
func (i Imported) Steps() []string {
	name := visible.ShellWord(i.Name)
	steps := []string{fmt.Sprintf("# network %s is defined for the cluster; the other hosts have it already. On this host:", visible.Word(i.Name))}
	for _, c := range i.Containers {
		steps = append(steps, fmt.Sprintf("docker network disconnect -f %s %s", name, visible.ShellWord(c.Name)))
	}
	steps = append(steps, "docker network rm "+name, fmt.Sprintf("# gvlan makes its own %s here within a second; then:", visible.Word(i.Name)))
	for _, c := range i.Containers {
		if c.Doubt != "" {
			steps = append(steps, "# "+c.Doubt)
		}
		steps = append(steps, strings.Join(append(append([]string{"docker network connect"}, c.flags()...), name, visible.ShellWord(c.Name)), " "))
	}
	return steps
}

// flags are those of `docker network connect`.
func (c ImportedContainer) flags() []string {
	var flags []string
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				flags = append(flags, flag, visible.ShellWord(v))
			}
		}
	}
	add("--ip", c.IPv4)
	add("--ip6", c.IPv6)
	add("--link-local-ip", c.LinkLocal...)
	add("--alias", c.Aliases...)
	add("--link", c.Links...)
	for _, key := range slices.Sorted(maps.Keys(c.DriverOpts)) {
		add("--driver-opt", key+"="+c.DriverOpts[key])
	}
	if c.GwPriority != 0 {
		add("--gw-priority", strconv.Itoa(c.GwPriority))
	}
	return flags
}
