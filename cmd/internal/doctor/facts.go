package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/doctor/firewall"
	"gvlan/driver/engine"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/parentfile"
)

// Kernel is the host's links; *link.Kernel is one.
type Kernel interface {
	// Interfaces lists what the host has.
	Interfaces(ctx context.Context) ([]link.Interface, error)
	// Owned lists the links with the driver's mark.
	Owned(ctx context.Context) ([]link.Link, error)
	// Supports is nil, or says which module a kind of link needs.
	Supports(ctx context.Context, kind link.Kind) error
}

// Engine is the host's Docker engine; *engine.Engine is one.
type Engine interface {
	Info(ctx context.Context) (engine.Info, error)
	// ManagedPlugins names those there are, enabled or not.
	ManagedPlugins(ctx context.Context) ([]string, error)
	// Networks lists those of a driver; of all for "".
	Networks(ctx context.Context, driver string) ([]engine.Network, error)
	// Network is one with its endpoints.
	Network(ctx context.Context, id string) (engine.Network, error)
	Containers(ctx context.Context) ([]engine.Container, error)
	Container(ctx context.Context, id string) (engine.ContainerDetail, error)
	// Services lists the swarm's; only managers know them.
	Services(ctx context.Context) ([]engine.Service, error)
}

// Agent answers the routes of package api; *api.Client is one.
type Agent interface {
	Get(ctx context.Context, route string, value any) error
}

// Disk is what a folder lies on.
type Disk interface {
	// Free is how many bytes are left for the folder.
	Free(folder string) (int64, error)
	// Flush is how long a small write there takes until it is on the disk. It
	// leaves nothing behind.
	Flush(folder string) (time.Duration, error)
}

// Host is what Examine looks at; Real makes it of the host it runs on.
type Host struct {
	Name    string
	Version string // of the command
	Config  config.Config
	Kernel  Kernel
	Engine  Engine
	Agent   Agent
	Files   fs.FS // of the host, from its root
	// Secret is why a file must not have a secret in it: secretfile.Check.
	Secret func(path string) error
	Disk   Disk
	// Firewall reads the rules of the host's own packet filter.
	Firewall func() (firewall.Ruleset, error)
	// Run returns what a program prints.
	Run func(ctx context.Context, program string, args ...string) ([]byte, error)
	// Ask asks the resolver of a container, inside its network namespace, for the
	// addresses of a name: of IPv6 where six is set.
	Ask func(ctx context.Context, sandbox, name string, six bool) ([]netip.Addr, error)
	// Answers reports whether anybody listens on a unix socket.
	Answers func(path string) bool
	Now     func() time.Time
	Sleep   func(context.Context, time.Duration)
}

// told is an answer, or why there is none.
type told[T any] struct {
	value T
	err   error
}

// facts are what a host told of itself, each asked once.
type facts struct {
	Host
	status     told[api.Status]
	nodes      told[[]api.NodeView]
	members    told[[]api.MemberView]
	views      told[[]api.NetworkView]
	store      told[api.StoreView]
	reads      told[api.StoreReads]
	info       told[engine.Info]
	plugins    told[[]string]
	all        told[[]engine.Network] // of every driver
	services   told[[]engine.Service]
	containers told[[]engine.ContainerDetail] // on a network of ours, or on the host's
	interfaces told[[]link.Interface]
	firewall   told[firewall.Ruleset]
	legacy     told[[]firewall.Chain] // of iptables-legacy
}

// patience bounds each question.
const patience = 5 * time.Second

// gather asks everything at once; the agent only where it answers at all.
func gather(ctx context.Context, h Host) *facts {
	f := &facts{Host: h, status: ask(ctx, fromAgent[api.Status](h, api.StatusRoute))}
	if f.status.err != nil {
		h.Agent = silent{}
	}
	var asked sync.WaitGroup
	for _, one := range []func(){
		func() { f.nodes = ask(ctx, fromAgent[[]api.NodeView](h, api.NodesRoute)) },
		func() { f.members = ask(ctx, fromAgent[[]api.MemberView](h, api.MembersRoute)) },
		func() { f.views = ask(ctx, fromAgent[[]api.NetworkView](h, api.NetworksRoute)) },
		func() { f.store = ask(ctx, fromAgent[api.StoreView](h, api.StoreRoute)) },
		func() { f.reads = ask(ctx, fromAgent[api.StoreReads](h, api.StoreReadsRoute)) },
		func() { f.interfaces = ask(ctx, h.Kernel.Interfaces) },
		func() { f.firewall.value, f.firewall.err = h.Firewall() },
		func() { f.legacy = ask(ctx, f.readLegacy) },
		func() { f.askEngine(ctx) },
	} {
		asked.Go(one)
	}
	asked.Wait()
	f.firewall.value.Chains = append(f.firewall.value.Chains, f.legacy.value...)
	return f
}

// silent is an agent that does not answer, asked again.
type silent struct{}

func (silent) Get(context.Context, string, any) error { return errNoAgent }

func ask[T any](ctx context.Context, question func(context.Context) (T, error)) told[T] {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	value, err := question(ctx)
	return told[T]{value, err}
}

func fromAgent[T any](h Host, route string) func(context.Context) (T, error) {
	return func(ctx context.Context) (answer T, err error) {
		err = h.Agent.Get(ctx, route, &answer)
		return answer, err
	}
}

// askEngine asks one thing after the other: an engine that does not answer is
// waited for once.
func (f *facts) askEngine(ctx context.Context) {
	f.info = ask(ctx, f.Engine.Info)
	if err := f.info.err; err != nil {
		f.plugins.err, f.all.err, f.containers.err, f.services.err = err, err, err, err
		return
	}
	f.plugins = ask(ctx, f.Engine.ManagedPlugins)
	f.all = ask(ctx, func(ctx context.Context) ([]engine.Network, error) { return f.Engine.Networks(ctx, "") })
	f.containers = ask(ctx, f.inspect)
	f.services.err = notNeeded("this engine manages no swarm")
	if f.info.value.Swarm.State == engine.SwarmManager {
		f.services = ask(ctx, f.Engine.Services)
	}
}

// inspected is how many containers are asked about one by one.
const inspected = 200

// inspect reads the containers on a network of gvlan's or on the host's, those
// that run first.
func (f *facts) inspect(ctx context.Context) ([]engine.ContainerDetail, error) {
	all, err := f.Engine.Containers(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b engine.Container) int { return idle(a) - idle(b) })
	var details []engine.ContainerDetail
	for _, c := range all {
		ours := slices.ContainsFunc(c.Attachments, func(a engine.Attachment) bool { return f.named(a.Network) })
		if !ours && c.NetworkMode != hostMode || len(details) >= inspected {
			continue
		}
		// One that is being started or removed is not waited for, nor missed.
		if d, err := f.Engine.Container(ctx, c.ID); err == nil {
			details = append(details, d)
		}
	}
	return details, ctx.Err()
}

// hostMode is --network host.
const hostMode = "host"

func idle(c engine.Container) int {
	if c.State == engine.StateRunning {
		return 0
	}
	return 1
}

// isOurs reports whether a driver is gvlan's: this agent's, or a managed plugin
// beside it, which is called as README says.
func (f *facts) isOurs(driver string) bool {
	return driver == f.Config.DriverName || strings.HasPrefix(driver, "gvlan")
}

// named reports whether a network of that name is gvlan's.
func (f *facts) named(name string) bool {
	return slices.ContainsFunc(f.all.value, func(n engine.Network) bool { return n.Name == name && f.isOurs(n.Driver) })
}

// network is one of this agent's on this host.
type network struct {
	engine.Network
	options option.Options
	parent  string // a container would hang from now; "" for none
	why     string // there is none
}

// isolated reports whether it has no way out, and so no parent.
func (n network) isolated() bool { return n.options.Isolated(n.Internal) }

// has6 reports whether it has a subnet of IPv6.
func (n network) has6() bool {
	return slices.ContainsFunc(n.IPAM.Pools, func(p engine.Pool) bool { return p.Subnet.Addr().Is6() })
}

// networks are this agent's networks on this host, with the parent that the
// agent says, or that the network's own options say while it does not answer.
func (f *facts) networks() ([]network, error) {
	if f.all.err != nil {
		return nil, f.all.err
	}
	var networks []network
	for _, n := range f.all.value {
		if n.Driver != f.Config.DriverName || n.ConfigOnly {
			continue
		}
		options, err := option.Parse(n.Options)
		if err != nil {
			continue // it was refused, or is an older agent's: nothing hangs from it
		}
		one := network{Network: n, options: options}
		if !one.isolated() {
			one.parent, one.why = f.parentOf(n.Name, options)
		}
		networks = append(networks, one)
	}
	return networks, nil
}

// parentOf is what a network's containers would hang from, or why from nothing.
func (f *facts) parentOf(name string, options option.Options) (parent, why string) {
	if f.views.err == nil {
		for _, v := range f.views.value {
			for _, h := range v.Hosts {
				if v.Name == name && h.Node == f.status.value.Node && (h.Parent != "" || h.Why != "") {
					return h.Parent, h.Why
				}
			}
		}
	}
	choice, err := f.resolve(name, options)
	if err != nil {
		return "", err.Error()
	}
	if len(choice.VLANs) > 0 {
		specs := link.VLANs(choice.Interface.Name, choice.VLANs, "")
		return specs[len(specs)-1].Name, ""
	}
	return choice.Interface.Name, ""
}

// resolve reads a network's own options.
func (f *facts) resolve(name string, options option.Options) (parentfile.Choice, error) {
	if f.interfaces.err != nil {
		return parentfile.Choice{}, f.interfaces.err
	}
	list, err := parentfile.Parse(options.Parent)
	if err == nil && options.ParentFile != "" {
		var file parentfile.File
		if file, err = parentfile.Load(f.Config.HostPath(options.ParentFile)); err == nil {
			list, err = file.List(string(options.Kind))
		}
	}
	if err == nil && list.NeedsHost() {
		list, err = list.ForHost(parentfile.HostTable{Default: f.Config.Parents.Default, Networks: f.Config.Parents.Networks}, name)
	}
	if err != nil {
		return parentfile.Choice{}, fmt.Errorf("read the parents of network %s: %w", name, err)
	}
	have := make([]parentfile.Interface, 0, len(f.interfaces.value))
	for _, i := range f.interfaces.value {
		have = append(have, parentfile.Interface(i))
	}
	return parentfile.Resolve(list, have, string(options.Kind))
}

// link finds an interface of this host.
func (f *facts) link(name string) (link.Interface, bool) {
	i := slices.IndexFunc(f.interfaces.value, func(i link.Interface) bool { return i.Name == name })
	if i < 0 {
		return link.Interface{}, false
	}
	return f.interfaces.value[i], true
}

// below lists an interface and what it hangs from, down to the hardware.
func (f *facts) below(name string) []link.Interface {
	var chain []link.Interface
	for i, ok := f.link(name); ok && len(chain) < 8; i, ok = f.link(i.Parent) {
		chain = append(chain, i)
	}
	return chain
}

// parents lists the parents in use on this host with their networks, by name.
func (f *facts) parents() (map[string][]network, error) {
	networks, err := f.networks()
	if err != nil {
		return nil, err
	}
	if f.interfaces.err != nil {
		return nil, f.interfaces.err
	}
	parents := map[string][]network{}
	for _, n := range networks {
		if n.parent != "" {
			parents[n.parent] = append(parents[n.parent], n)
		}
	}
	return parents, nil
}

// read is a file of the host's without the white space around it; "" where it
// cannot be read.
func (f *facts) read(path string) string {
	raw, err := fs.ReadFile(f.Files, path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// namesOf lists networks for people.
func namesOf(networks []network) string {
	var names []string
	for _, n := range networks {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return list(names)
}

// list is a list for people, cut short where it is long.
func list(all []string) string {
	const shown = 6
	if more := len(all) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:shown], ", "), more)
	}
	return strings.Join(all, ", ")
}
