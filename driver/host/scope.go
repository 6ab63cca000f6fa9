package host

import (
	"cmp"
	"maps"
	"sync"

	"gvlan/driver/link"
	"gvlan/driver/option"
)

// Settings is where a few words last, a bucket of the journal.
type Settings interface {
	Put(key string, value []byte) error
	Each(func(key string, value []byte) error) error
}

// scopes is the default scope of new networks by kind, as the engine's labels
// (`dockerd --label macvlan=local`) set it. Labels come by the Engine API,
// which no handler may ask, so the last ones known are kept in the journal.
type scopes struct {
	mu       sync.Mutex
	byKind   map[link.Kind]option.Scope
	fallback option.Scope
	kept     Settings
}

func openScopes(kept Settings, fallback option.Scope) (*scopes, error) {
	s := &scopes{byKind: map[link.Kind]option.Scope{}, fallback: cmp.Or(fallback, option.ScopeGlobal), kept: kept}
	err := kept.Each(func(key string, value []byte) error {
		if kind := link.Kind(key); kind == link.Macvlan || kind == link.Ipvlan {
			s.byKind[kind] = option.Scope(value)
		}
		return nil
	})
	return s, err
}

// Of is the default scope of a kind; global while no label is known.
func (s *scopes) Of(kind link.Kind) option.Scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.byKind[kind], s.fallback)
}

// Learn takes the engine's labels over.
func (s *scopes) Learn(labels map[string]string) error {
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
