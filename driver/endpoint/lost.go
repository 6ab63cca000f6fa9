package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/link"
	"gvlan/driver/netns"
)

// lookInside is how often containers are looked into for their interfaces: an
// interface is one that was removed when two looks did not find it, which is
// longer than Docker needs to bring it in or out.
const lookInside = 10 * time.Second

// LookInside finds containers whose interface was removed by what runs in them,
// until ctx ends. Docker does not notice, and nothing but a restart of the
// container brings it back.
func (sb *Sandboxes) LookInside(ctx context.Context) error {
	missed := map[string]bool{} // by endpoint, at the last look
	for store.Sleep(ctx, lookInside) {
		missed = sb.lookInside(missed)
	}
	return nil
}

// lookInside is one look. It returns the endpoints whose interface is missing.
func (sb *Sandboxes) lookInside(before map[string]bool) map[string]bool {
	missing := map[string]bool{}
	var found []string
	for _, e := range sb.Memory.Endpoints() {
		if e.Sandbox == "" {
			continue
		}
		err := netns.Do(sb.Cfg.OnHost(e.Sandbox), func() error { return link.Inside(e.ID) })
		if !errors.Is(err, link.ErrNotFound) {
			continue
		}
		missing[e.ID] = true
		n, known := sb.Memory.Network(e.Network)
		if before[e.ID] && known && e.Container.Name != "" {
			found = append(found, fmt.Sprintf("container %s has lost its interface on network %s: it was removed inside (docker restart %s brings it back)", e.Container.Name, n.Title(), e.Container.Name))
		}
	}
	slices.Sort(found)
	sb.Lost.Replace(found, sb.Now(), sb.Log, slog.LevelWarn)
	return missing
}
