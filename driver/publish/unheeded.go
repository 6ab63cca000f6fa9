package publish

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"gvlan/driver/journal"
	"gvlan/driver/option"
	"gvlan/driver/visible"
)

// unheeded is what users of this host's networks asked for that has no effect.
// Docker's answers have no place for a warning.
type unheeded struct {
	mu     sync.Mutex
	engine string          // version, "" until it told
	told   map[string]bool // what was logged and is so still
	all    []string        // sentences
}

// Learn takes the engine's version.
func (u *unheeded) Learn(version string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.engine = version
}

func (u *unheeded) List() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.all)
}

// containersNamed bounds how many containers a sentence names.
const containersNamed = 5

// lookAtUnheeded remembers what has no effect now, and logs each once.
func (cs *Containers) lookAtUnheeded() {
	engine := cs.Unheeded.of()
	containers := map[string][]string{} // by what is said of them
	for _, n := range cs.Memory.Networks() {
		// Docker's calls name neither networks nor containers: they count once
		// they are known.
		if n.Stage == journal.StageGone || n.IsManager() || n.Name == "" {
			continue
		}
		about := "network " + visible.Word(n.Name) + ": "
		for _, given := range n.Options.Unheeded {
			containers[about+option.NetworkUnheeded(given)] = nil
		}
		for _, e := range cs.Memory.EndpointsOf(n.ID) {
			if e.Container.Name == "" {
				continue
			}
			said := e.Unheeded
			if e.IfName != "" && !option.NamesInterfaces(engine) {
				said = append(slices.Clone(said), option.IfNameUnheeded(engine))
			}
			for _, what := range said {
				containers[about+what] = append(containers[about+what], e.Container.Name)
			}
		}
	}
	for _, fresh := range cs.Unheeded.replace(containers) {
		cs.Log.Warn(fresh)
	}
}

// of is the engine's version.
func (u *unheeded) of() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.engine
}

// replace takes what a look found, and returns the sentences that are new but
// for the containers in them.
func (u *unheeded) replace(found map[string][]string) (fresh []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	had := u.told
	u.told, u.all = map[string]bool{}, nil
	for _, what := range slices.Sorted(maps.Keys(found)) {
		sentence := what + named(found[what])
		u.told[what], u.all = true, append(u.all, sentence)
		if !had[what] {
			fresh = append(fresh, sentence)
		}
	}
	return fresh
}

// named ends a sentence with the containers it is about.
func named(containers []string) string {
	if len(containers) == 0 {
		return ""
	}
	slices.Sort(containers)
	containers = slices.Compact(containers)
	more := ""
	if len(containers) > containersNamed {
		more = fmt.Sprintf(" and %d more", len(containers)-containersNamed)
		containers = containers[:containersNamed]
	}
	return " (" + strings.Join(containers, ", ") + more + ")"
}
