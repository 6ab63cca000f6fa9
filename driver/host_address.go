package driver

import (
	"context"
	"maps"
	"net/netip"
	"sync"

	"gvlan/parentfile"
)

// ownAddresses are those of this host's interfaces, by the last look.
type ownAddresses struct {
	mu        sync.Mutex
	addresses map[netip.Addr]string
}

// lookAtOwn reads this host's own addresses, before anything else is known.
func (d *Driver) lookAtOwn(ctx context.Context) error {
	have, err := d.parents.Inventory(ctx)
	if err != nil {
		return err
	}
	d.keepOut(have)
	return nil
}

// keepOut tells the allocator which addresses are hosts' own: those of this
// host's interfaces as they are now, and what the other nodes say of theirs.
func (d *Driver) keepOut(have []parentfile.Interface) {
	own := d.cfg.Node
	for _, i := range have {
		own.Interfaces = append(own.Interfaces, describeInterface(i, nil))
	}
	d.own.mu.Lock()
	d.own.addresses = own.HostAddresses()
	d.own.mu.Unlock()
	d.keepOutAll()
}

// keepOutAll is keepOut after another node's description changed.
func (d *Driver) keepOutAll() {
	d.own.mu.Lock() // the newer of two looks must be the last to tell
	defer d.own.mu.Unlock()
	rows, all := d.tables.nodes.Rows()
	out := map[netip.Addr]string{}
	for _, r := range rows {
		if r.Record.Node != d.self.Node() {
			maps.Copy(out, r.Record.HostAddresses())
		}
	}
	maps.Copy(out, d.own.addresses)
	d.addresses.KeepOut(out, all)
}
