package driver

import (
	"errors"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
)

// hostAddresses are the addresses of every node's own interfaces: on the LAN
// they are taken, whatever the pool says.
func (d *Driver) hostAddresses() []string {
	rows, _ := d.tables.nodes.all()
	var all []string
	for _, r := range rows {
		for _, i := range r.Record.Interfaces {
			for _, text := range i.Addresses {
				p, err := netip.ParsePrefix(text)
				if err == nil && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsLoopback() {
					all = append(all, p.Addr().String())
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// adopt tells the allocator which definition a network stands for. The
// addresses of the cluster's own hosts are excluded beside what `network set`
// excludes.
func (d *Driver) adopt(network string, def store.Network, at store.Revision) error {
	def.Overrides.Exclude = slices.Concat(def.Overrides.Exclude, d.hostAddresses())
	return d.addresses.Adopt(network, def, at)
}

// adoptAgain tells the allocator of hosts that came, went or got another
// address since the last look. It is the sync loop's alone.
func (d *Driver) adoptAgain(v view) error {
	now := d.hostAddresses()
	if slices.Equal(now, d.excluded) {
		return nil
	}
	var failed error
	for _, n := range v.journal {
		if def, ok := v.byUUID(n.UUID); ok && (bound(n) || n.Stage == StageSwarm) {
			failed = errors.Join(failed, d.adopt(n.ID, def.Record, def.Modified))
		}
	}
	if failed == nil {
		d.excluded = now
	}
	return failed
}
