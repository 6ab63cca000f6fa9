package driver

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// unheeded is what users of this host's networks asked for that has no effect.
// Docker's answers have no place for a warning.
type unheeded struct {
	mu     sync.Mutex
	engine string          // version, "" until it told
	told   map[string]bool // what was logged and is so still
	all    []string        // sentences
}

// learn takes the engine's version.
func (u *unheeded) learn(version string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.engine = version
}

func (u *unheeded) list() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.all)
}

// namesInterfaces tells whether an engine of that version has a plugin name
// interfaces (moby#52866): 29.8 and later. Of one that it does not know it
// thinks the best.
func namesInterfaces(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err != nil || err2 != nil || a > 29 || a == 29 && b >= 8
}

// containersNamed bounds how many containers a sentence names.
const containersNamed = 5

// lookAtUnheeded remembers what has no effect now, and logs each once.
func (d *Driver) lookAtUnheeded() {
	engine := d.unheeded.of()
	containers := map[string][]string{} // by what is said of them
	for _, n := range d.state.allNetworks() {
		// Docker's calls name neither networks nor containers: they count once
		// they are known.
		if n.Stage == StageGone || n.isManager() || n.Name == "" {
			continue
		}
		about := "network " + printable(n.Name) + ": "
		for _, option := range n.Options.Unheeded {
			containers[about+networkUnheeded(option)] = nil
		}
		for _, e := range d.state.endpointsOf(n.ID) {
			if e.Container.Name == "" {
				continue
			}
			said := e.Unheeded
			if e.IfName != "" && !namesInterfaces(engine) {
				said = append(slices.Clone(said), ifNameUnheeded(engine))
			}
			for _, what := range said {
				containers[about+what] = append(containers[about+what], e.Container.Name)
			}
		}
	}
	for _, fresh := range d.unheeded.replace(containers) {
		d.log.Warn(fresh)
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

func networkUnheeded(option string) string {
	return fmt.Sprintf("-o %s has no effect on a network of gvlan's", printable(option))
}

func ifNameUnheeded(engine string) string {
	return fmt.Sprintf("a container's interface name (%s) has no effect: Docker lets plugins name interfaces from 29.8 on, and this engine is %s", keyIfName, printable(engine))
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
	return " (" + joinWords(containers) + more + ")"
}
