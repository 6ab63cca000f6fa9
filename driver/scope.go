package driver

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"

	"gvlan/driver/link"
	"gvlan/driver/option"
)

// scopes is the default scope of new networks by kind, as the engine's labels
// (`dockerd --label macvlan=local`) set it. Labels come by the Engine API,
// which no handler may ask, so the last ones known are kept in the journal.
type scopes struct {
	mu       sync.Mutex
	byKind   map[link.Kind]option.Scope
	fallback option.Scope
	kept     bucket
}

func openScopes(kept bucket, fallback option.Scope) (*scopes, error) {
	s := &scopes{byKind: map[link.Kind]option.Scope{}, fallback: cmp.Or(fallback, option.ScopeGlobal), kept: kept}
	err := kept.Each(func(key string, value []byte) error {
		if kind := link.Kind(key); kind == link.Macvlan || kind == link.Ipvlan {
			s.byKind[kind] = option.Scope(value)
		}
		return nil
	})
	return s, err
}

// of is the default scope of a kind; global while no label is known.
func (s *scopes) of(kind link.Kind) option.Scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.byKind[kind], s.fallback)
}

// learn takes the engine's labels over.
func (s *scopes) learn(labels map[string]string) error {
	said, err := option.ParseLabels(labels)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if maps.Equal(said, s.byKind) {
		return nil
	}
	for _, kind := range []link.Kind{link.Macvlan, link.Ipvlan} {
		if err := s.kept.Put(string(kind), []byte(said[kind])); err != nil {
			return err
		}
	}
	s.byKind = said
	return nil
}

// isLocal reports whether a new network stays on this host.
func (d *Driver) isLocal(o option.Options) bool {
	return cmp.Or(o.Scope, d.scopes.of(o.Kind)) == option.ScopeLocal
}

// learnLabels asks the engine for its labels, and which version it is.
func (d *Driver) learnLabels(ctx context.Context) error {
	info, err := d.cfg.Engine.Info(ctx)
	if err != nil {
		return err
	}
	d.announcer.learn(info.APIVersion)
	d.unheeded.learn(info.Version)
	d.names.poke() // what has no effect depends on it
	return d.scopes.learn(info.Labels)
}

// lookAtPlugins finds a managed plugin whose name hides this socket plugin:
// Docker takes "gvlan:latest" for "gvlan" and then has no other, also when that
// one is disabled.
func (d *Driver) lookAtPlugins(ctx context.Context) error {
	names, err := d.cfg.Engine.ManagedPlugins(ctx)
	if err != nil {
		return err
	}
	var found []string
	for _, name := range names {
		if name != d.cfg.Name && strings.TrimSuffix(name, ":latest") == d.cfg.Name {
			found = append(found, fmt.Sprintf("a managed plugin is called %s: Docker finds it in place of this agent, and plain networks lose their driver; remove it and create it as gvlan-swarm:latest", name))
		}
	}
	for _, f := range d.plugins.Replace(found) {
		d.log.Error(f)
	}
	return nil
}
