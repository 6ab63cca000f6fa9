package hosting

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"gvlan/cluster/store/care"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
)

// littleRoom is how much of its disk a member's host may have left before people
// are told, in bytes: a quarter of etcd's usual quota, which takes a store weeks to
// fill, while whatever else fills the disk is often there in a day.
const littleRoom = 512 << 20

// health is how the store fares, as far as this host can tell.
type health struct {
	dir   string // of the member's data
	seat  *seat
	space func(dir string) (int64, error)
	now   func() time.Time

	mu        sync.Mutex
	caretaker *care.Caretaker // nil before run
}

// run looks after the store until ctx ends. own is where the member of a host is
// asked that shares its store with nobody, "" elsewhere.
func (h *health) run(ctx context.Context, client *etcd.Client, own string) error {
	caretaker := care.New(care.Config{Cluster: etcd.NewMembership(client), Own: own, Leads: h.seat.leads, Now: h.now, Log: h.seat.log})
	h.mu.Lock()
	h.caretaker = caretaker
	h.mu.Unlock()
	return caretaker.Run(ctx)
}

// last is what the last look at the members found, and how often one was taken.
func (h *health) last() (care.View, care.Looks) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.caretaker == nil {
		return care.View{}, care.Looks{}
	}
	return h.caretaker.Last(), h.caretaker.Looks()
}

// warnings are what is wrong, each with its cure.
func (h *health) warnings(called func(node string) string) (all []string) {
	view, _ := h.last()
	all = view.Warnings(called)
	if disk := h.diskWarning(); disk != "" {
		all = append(all, disk)
	}
	return all
}

// diskWarning is about the disk of a member's host, or of one that has a member's
// data; "" while there is room.
func (h *health) diskWarning() string {
	runs := h.seat.running() != nil
	if !runs && !h.seat.hasData() {
		return ""
	}
	free, err := h.space(filepath.Dir(h.dir))
	switch {
	case err != nil || free >= littleRoom:
		return ""
	case free < embedded.FullBelow || !runs && free < embedded.RoomFrom:
		return fmt.Sprintf("the disk of %s is full, %d MiB are left, and the member of the store on this host does not run: make room, at least %d MiB; it goes on by itself then",
			h.dir, free>>20, embedded.RoomFrom>>20)
	}
	return fmt.Sprintf("the disk of %s is nearly full, %d MiB are left: make room; the member of the store on this host stops when less than %d MiB are",
		h.dir, free>>20, embedded.FullBelow>>20)
}
