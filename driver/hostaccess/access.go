package hostaccess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/route"
	"gvlan/driver/trouble"
)

// Access keeps host access on this host as it should be.
type Access struct {
	*host.Host
	Failures trouble.Findings // what does not work
	Off      trouble.Findings // networks that the agent's default does not apply to
	inside   inside
	clean    bool // nobody wanted it at the last look, and nothing of it was left
}

// New keeps nothing yet.
func New(h *host.Host) *Access {
	return &Access{Host: h, inside: inside{host: h, done: map[string]visit{}, touched: map[string]bool{}}}
}

const (
	// gather lets a burst of changes pass before one look at them all.
	gather = 20 * time.Millisecond
	// soon is when it looks again for containers whose link is not in place yet.
	soon     = 50 * time.Millisecond
	soonLast = 2 * time.Second
)

// Keep brings host access into line whenever a container comes or goes, or the host's
// links, addresses or what was made of ours change, until ctx ends. What was made
// stays then: containers run on while an agent is started again.
func (a *Access) Keep(ctx context.Context) error {
	if a.Cfg.Routes == nil {
		return nil
	}
	watching := route.NewWatching(a.Cfg.Routes.Watch, func() { host.Tell(a.Reach) })
	defer watching.Close()
	wait := soon
	for {
		pending := a.look(ctx)
		watching.Want(ctx, !a.clean) // what is off costs nothing
		next := host.ResyncEvery
		if pending {
			next, wait = wait, min(2*wait, soonLast)
		} else {
			wait = soon
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case err := <-watching.Ended():
			timer.Stop()
			if ctx.Err() == nil {
				return err
			}
		case <-a.Reach:
			wait = soon
		case <-timer.C:
		}
		timer.Stop()
		if !store.Sleep(ctx, gather) {
			return nil
		}
	}
}

// look brings everything into line once, and reports whether some container was not
// ready for it.
func (a *Access) look(ctx context.Context) (pending bool) {
	networks := a.Memory.Networks()
	nobody := !slices.ContainsFunc(networks, func(n journal.Network) bool { return wants(n, a.Cfg.Defaults) })
	if nobody && a.clean { // what is not asked for costs no container's start anything
		a.tell(View{Defaults: a.Cfg.Defaults, Networks: networks}, nil)
		return false
	}
	v, err := a.view(ctx)
	if err != nil {
		if ctx.Err() == nil {
			a.tell(View{Defaults: a.Cfg.Defaults, Networks: networks}, map[string]error{"": err})
		}
		return false
	}
	plan := Desire(v)
	faults := map[string]error{}
	for network, why := range plan.Lacks {
		faults[network] = why
	}
	fail := func(err error, networks ...string) {
		if len(networks) == 0 {
			networks = []string{""}
		}
		for _, n := range networks {
			faults[n] = errors.Join(faults[n], err)
		}
	}
	a.reach(ctx, a.shims(ctx, plan, fail), plan, fail)
	pending = a.inside.look(ctx, v, plan, fail)
	if ctx.Err() != nil {
		return false
	}
	a.tell(v, faults)
	a.clean = nobody && !pending && len(faults) == 0
	return pending
}

// tell says what fails, and which networks the agent's default does not apply to.
func (a *Access) tell(v View, faults map[string]error) {
	var failed, off []string
	for _, network := range slices.Sorted(maps.Keys(faults)) {
		failed = append(failed, fmt.Sprintf("host access%s does not work on %s as it should: %s", a.onNetwork(network), a.Cfg.Host(), strings.ReplaceAll(faults[network].Error(), "\n", "; ")))
	}
	for _, n := range v.Networks {
		if _, why := n.HostAccess(v.Defaults); why != "" && n.Stage != journal.StageGone {
			off = append(off, fmt.Sprintf("--host-access has no effect on network %s: %s", n.Title(), why))
		}
	}
	a.Failures.Replace(failed, a.Now(), a.Log, slog.LevelWarn)
	a.Off.Replace(off, a.Now(), a.Log, slog.LevelInfo)
}

func (a *Access) onNetwork(id string) string {
	if n, ok := a.Memory.Network(id); ok {
		return " of network " + n.Title()
	}
	return ""
}

// view looks at the host.
func (a *Access) view(ctx context.Context) (View, error) {
	v := View{Driver: a.Cfg.Name, Node: a.Self.Node(), Defaults: a.Cfg.Defaults, Networks: a.Memory.Networks(), MACs: map[string]net.HardwareAddr{}, Strict: map[string]bool{}}
	for _, e := range a.Memory.Endpoints() {
		v.Endpoints = append(v.Endpoints, Endpoint{e, journal.AddressesOf(a.Memory, e)})
	}
	var err error
	if v.Addresses, err = a.Cfg.Routes.Addresses(ctx); err != nil {
		return View{}, err
	}
	if v.Interfaces, err = a.Cfg.Links.Interfaces(ctx); err != nil {
		return View{}, err
	}
	for _, e := range v.Endpoints {
		if _, known := v.MACs[e.Parent]; known || e.Link == "" || e.Parent == "" {
			continue
		}
		on, err := a.Cfg.Links.Read(ctx, e.Parent)
		if err != nil && !errors.Is(err, link.ErrNotFound) {
			return View{}, err
		}
		v.MACs[e.Parent] = on.MAC
		// A link that went meanwhile drops nothing.
		v.Strict[e.Parent], _ = a.Cfg.Routes.Strict(e.Parent)
	}
	// Without its parent, a shim waits with the container's link.
	v.Endpoints = slices.DeleteFunc(v.Endpoints, func(e Endpoint) bool { return e.Link != "" && v.MACs[e.Parent] == nil })
	return v, nil
}

// shims makes those that should be and removes the others. It returns those that are
// there then.
func (a *Access) shims(ctx context.Context, plan Plan, fail func(error, ...string)) (there map[string]bool) {
	owned, err := a.Cfg.Links.Owned(ctx)
	if err != nil {
		fail(err)
		return nil
	}
	for _, l := range owned {
		wanted := slices.ContainsFunc(plan.Shims, func(s link.Spec) bool { return s.Name == l.Name })
		if !l.Shim || wanted {
			continue
		}
		if err := a.Cfg.Links.Remove(ctx, l.Name); err != nil {
			fail(err)
		}
	}
	there = map[string]bool{}
	for _, s := range plan.Shims {
		if _, err := a.Cfg.Links.Ensure(ctx, s); err != nil {
			fail(err, plan.Of[s.Name]...)
			continue
		}
		there[s.Name] = true
	}
	return there
}

// reach makes the host's routes and neighbours by the shims that are there. What
// keeps a shim away is told.
func (a *Access) reach(ctx context.Context, there map[string]bool, plan Plan, fail func(error, ...string)) {
	want := route.State{
		Routes:     slices.DeleteFunc(slices.Clone(plan.Host.Routes), func(r route.Route) bool { return !there[r.Link] }),
		Neighbours: slices.DeleteFunc(slices.Clone(plan.Host.Neighbours), func(n route.Neighbour) bool { return !there[n.Link] }),
	}
	err := a.Cfg.Routes.Set(ctx, func(name string) bool { return there[name] }, want)
	for _, one := range route.Each(err) {
		var refused *route.Refused
		if errors.As(one, &refused) {
			fail(one, plan.Of[refused.To.Addr().String()]...)
		} else {
			fail(one)
		}
	}
}
