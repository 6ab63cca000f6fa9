package agent

import (
	"slices"
	"strings"

	"gvlan/dns/zone"
	"gvlan/ipam/pool"
)

// namesNear are full names that a name without an answer may have meant: the
// same container's on other networks, else those of the nearest spelling.
func namesNear(asked, domain string, records []zone.Record) []string {
	container, _, _ := strings.Cut(strings.ToLower(asked), ".")
	var known []string
	for _, r := range records {
		known = append(known, r.Name)
	}
	if !slices.Contains(known, container) {
		container = pool.Nearest(container, known)
	}
	var near []string
	for _, r := range records {
		if r.Name == container {
			near = append(near, fullName(r, domain))
		}
	}
	slices.Sort(near)
	return slices.Compact(near)
}

func fullName(r zone.Record, domain string) string {
	if r.Network == "" {
		return r.Name
	}
	return r.Name + "." + r.Network + "." + domain
}

// hint ends a sentence about a name that has no answer.
func hint(near []string) string {
	if len(near) == 0 {
		return "; gvlan dns ls lists the names there are"
	}
	return "; did you mean " + strings.Join(near[:min(len(near), 3)], " or ") + "? gvlan dns ls lists them all"
}
