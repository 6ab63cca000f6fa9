package facts

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/terminal"
)

// Many is a number of addresses: where a subnet of IPv6 has too many to be read,
// the nearest power of two.
func Many(n float64) string {
	const readable = 1 << 32
	if n < readable {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("2^%.0f", math.Log2(n))
}

// FullIn is in how long a subnet is full, or that it is; "": never, or too little is
// known.
func FullIn(v api.PoolView, now time.Time) string {
	switch {
	case v.Size > 0 && v.Free <= 0:
		return "full"
	case v.FullAt.IsZero():
		return ""
	}
	return terminal.Span(v.FullAt.Sub(now))
}

// ByHost are the hosts with the most addresses first, "h1 12, h2 3".
func ByHost(v api.PoolView) string {
	hosts := slices.SortedFunc(maps.Keys(v.ByHost), func(a, b string) int {
		if c := v.ByHost[b] - v.ByHost[a]; c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	for i, h := range hosts {
		hosts[i] = fmt.Sprintf("%s %d", h, v.ByHost[h])
	}
	return strings.Join(hosts, ", ")
}
