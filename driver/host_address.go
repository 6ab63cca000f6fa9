package driver

import (
	"context"
	"maps"
	"net/netip"

	"gvlan/parentfile"
)

// lookAtOwn reads this host's own addresses, before anything else is known.
func (d *Driver) lookAtOwn(ctx context.Context) error {
	have, err := d.parents.inventory(ctx)
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
	addresses := own.HostAddresses()
	d.ownAddresses.Store(&addresses)
	d.keepOutAll()
}

// keepOutAll is keepOut after another node's description changed.
func (d *Driver) keepOutAll() {
	rows, all := d.tables.nodes.all()
	out := map[netip.Addr]string{}
	for _, r := range rows {
		if r.Record.Node != d.self.Node() {
			maps.Copy(out, r.Record.HostAddresses())
		}
	}
	if own := d.ownAddresses.Load(); own != nil {
		maps.Copy(out, *own)
	}
	d.addresses.KeepOut(out, all)
}
