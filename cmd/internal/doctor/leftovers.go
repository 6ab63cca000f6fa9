package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gvlan/driver/link"
)

// again is how long after the first look a link is looked at once more: one of
// a container that is being started is not a leftover.
const again = 3 * time.Second

// checkLeftovers finds what agents left that nobody uses.
func checkLeftovers(ctx context.Context, f *facts) (string, []Finding, error) {
	found := leftFiles(f)
	links, err := leftLinks(f, ctx)
	if err == nil && len(links) > 0 {
		f.Sleep(ctx, again)
		var later []string
		if later, err = leftLinks(f, ctx); err == nil {
			links = slices.DeleteFunc(links, func(l string) bool { return !slices.Contains(later, l) })
		}
	}
	if err != nil {
		return "", found, err
	}
	for _, name := range links {
		found = append(found, Finding{
			Severity: Fault,
			What:     fmt.Sprintf("link %s was made by gvlan and nothing uses it", name),
			Why:      "it keeps its parent, and an ipvlan one its mode; a macvlan one its MAC on the LAN",
			Cure:     "ip link del " + name + " (an agent that runs takes it away by itself within two minutes)",
		})
	}
	return "", found, nil
}

// leftLinks names the links of ours in the host's own namespace that no
// container and no network uses.
func leftLinks(f *facts, ctx context.Context) ([]string, error) {
	links, err := f.Kernel.Owned(ctx)
	if err != nil || len(links) == 0 {
		return nil, err
	}
	networks, err := f.networks()
	if err != nil {
		return nil, err
	}
	used, endpoints := map[string]bool{}, map[string]bool{}
	for _, n := range networks {
		for _, i := range f.below(n.parent) {
			used[i.Name] = true
		}
		used[n.parent], used[link.DummyName(n.ID)] = true, true
		now, err := f.Engine.Network(ctx, n.ID)
		if err != nil {
			return nil, err
		}
		for _, e := range now.Endpoints {
			endpoints[e.ID] = true
		}
	}
	usedElsewhere(f, used)
	var left []string
	for _, l := range links {
		switch {
		case l.Shim:
			if !used[l.Parent] {
				left = append(left, l.Name)
			}
		case l.Kind == link.Macvlan, l.Kind == link.Ipvlan:
			if !endpoints[l.Owner] {
				left = append(left, l.Name)
			}
		default:
			if !used[l.Name] {
				left = append(left, l.Name)
			}
		}
	}
	return left, nil
}

// usedElsewhere adds the links that the agent says its networks have: their
// containers may hang from an earlier parent than a new one would.
func usedElsewhere(f *facts, used map[string]bool) {
	for _, n := range f.status.value.Networks {
		for _, i := range f.below(n.Parent) {
			used[i.Name] = true
		}
	}
	for _, v := range f.views.value {
		for _, h := range v.Hosts {
			if h.Node != f.status.value.Node {
				continue
			}
			for _, l := range h.Links {
				used[l] = true
			}
			for _, e := range h.Endpoints {
				used[e.Parent] = true
			}
		}
	}
}

// leftFiles finds sockets that nobody answers at, and data that was set aside.
func leftFiles(f *facts) []Finding {
	var found []Finding
	own := f.Config.PluginSocket() + ".sock" // judged by checkPlugin
	for _, p := range globbed(f, f.Config.PluginSocketDir, "gvlan*.sock") {
		if path.Base(p) != own && !f.Answers(p) {
			found = append(found, deadSocket(p, "Docker takes it for a plugin: who names that driver waits 15 seconds for it"))
		}
	}
	for _, p := range globbed(f, filepath.Dir(f.Config.StatusSocket), "*.sock") {
		if p != f.Config.StatusSocket && !f.Answers(p) {
			found = append(found, deadSocket(p, "commands tell operators of an agent there that is none"))
		}
	}
	if f.Config.Swarm {
		return found
	}
	for _, pattern := range []string{"*.old", "*.damaged*", "etcd/*.old"} {
		for _, p := range globbed(f, f.Config.DataDir, pattern) {
			found = append(found, Finding{
				Severity: Hint,
				What:     p + " was set aside and is not used any more",
				Why:      "it takes room, and may hold what an older store or a damaged journal had",
				Cure:     "rm -r " + p + ", once nothing in it is missed",
			})
		}
	}
	return found
}

func deadSocket(p, why string) Finding {
	return Finding{Severity: Hint, What: "nobody answers at the socket " + p, Why: why, Cure: "rm " + p}
}

// globbed lists the paths in a folder that match.
func globbed(f *facts, folder, pattern string) []string {
	matches, err := fs.Glob(f.Files, path.Join(strings.TrimPrefix(folder, "/"), pattern))
	if err != nil {
		return nil
	}
	for i := range matches {
		matches[i] = "/" + matches[i]
	}
	return matches
}
