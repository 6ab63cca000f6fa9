package hostaccess

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"gvlan/driver/host"
	"gvlan/driver/netns"
	"gvlan/driver/route"
)

// visit is what was done within a container's namespace.
type visit struct {
	sandbox string
	did     Inside
	at      time.Time
}

// inside is the part of host access within containers.
type inside struct {
	host *host.Host
	// Of Keep alone, by endpoint:
	done map[string]visit
	// touched are those within which something of ours may be: those there when the
	// agent began to look, and those it went to since.
	touched map[string]bool
	began   bool
}

// How long a container that starts may take, without that being a failure to tell of:
// for its link to be in place, which a busy host was seen to need more than half a
// minute for; and then for its addresses, while Docker sets them.
const (
	linkPatience    = 3 * time.Minute
	addressPatience = 10 * time.Second
)

// errNotYet: Docker has not put the link into the sandbox yet.
var errNotYet = errors.New("the container's link is not in place yet")

// look visits the containers that should know something, or that knew something;
// after a start of the agent all of them, since nobody knows what an earlier one left.
// It reports whether one was not ready.
func (in *inside) look(ctx context.Context, v View, plan Plan, fail func(error, ...string)) (pending bool) {
	there := map[string]bool{}
	for _, e := range v.Endpoints {
		if e.Sandbox == "" {
			continue
		}
		there[e.ID] = true
		want := plan.Inside[e.ID]
		want.Addresses = e.All
		had, known := in.done[e.ID]
		if known && had.sandbox == e.Sandbox && reflect.DeepEqual(had.did, want) && in.host.Now().Sub(had.at) < host.ResyncEvery {
			continue
		}
		if known && had.sandbox == e.Sandbox && idle(want) && idle(had.did) {
			continue
		}
		if in.began && !in.touched[e.ID] && idle(want) {
			continue
		}
		in.touched[e.ID] = true
		err := in.visit(ctx, e, want)
		switch {
		case err == nil:
			in.done[e.ID] = visit{e.Sandbox, want, in.host.Now()}
		case in.starting(e, err):
			pending = true
		case idle(want), errors.Is(err, fs.ErrNotExist), errors.Is(err, netns.ErrNotNamespace):
			// Nothing to see to: it has ended, or never had anything of ours.
		default:
			fail(err, e.Network)
			pending = true
		}
	}
	in.began = true
	maps.DeleteFunc(in.done, func(id string, _ visit) bool { return !there[id] })
	maps.DeleteFunc(in.touched, func(id string, _ bool) bool { return !there[id] })
	return pending
}

func idle(i Inside) bool { return len(i.Hosts) == 0 && len(i.Knows) == 0 }

// starting reports whether a container that could not be seen to may just be
// starting.
func (in *inside) starting(e Endpoint, err error) bool {
	age := in.host.Now().Sub(time.UnixMilli(e.Since))
	return age < addressPatience || age < linkPatience && notYet(err)
}

func notYet(err error) bool {
	return errors.Is(err, errNotYet) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, netns.ErrNotNamespace)
}

// visit makes what is ours on an endpoint's link, within its container, what is
// wanted.
func (in *inside) visit(ctx context.Context, e Endpoint, want Inside) error {
	err := in.host.Cfg.Inside(in.host.Cfg.OnHost(e.Sandbox), func(there host.Routes) error {
		own, err := there.Addresses(ctx)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(own, func(a route.Address) bool { return slices.Contains(want.Addresses, a.Prefix.Addr()) })
		if at < 0 {
			return errNotYet
		}
		return there.Set(ctx, func(link string) bool { return link == own[at].Link }, want.on(own[at].Link))
	})
	if err != nil {
		return fmt.Errorf("within %s: %w", e.Sandbox, err)
	}
	return nil
}

// on is what is wanted on a link.
func (i Inside) on(link string) (s route.State) {
	for _, h := range i.Hosts {
		r := route.Route{Dst: netip.PrefixFrom(h, h.BitLen()), Link: link}
		if !slices.Contains(s.Routes, r) {
			s.Routes = append(s.Routes, r)
		}
	}
	for h, mac := range i.Knows {
		s.Neighbours = append(s.Neighbours, route.Neighbour{Link: link, Address: h, MAC: mac})
	}
	s.Sort()
	return s
}
