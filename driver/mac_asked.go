package driver

import (
	"maps"
	"net"
	"slices"

	"gvlan/driver/engine"
	"gvlan/driver/journal"
)

// keepMAC remembers the MAC that a container asked for, while it is stopped.
func (d *Driver) keepMAC(e journal.Endpoint) error {
	n, ok := d.state.Network(e.Network)
	if !ok || !e.MACAsked || e.Container.ID == "" || n.MACs[e.Container.ID] == e.MAC {
		return nil
	}
	return d.state.ChangeNetwork(n.ID, func(n *journal.Network) {
		macs := map[string]string{e.Container.ID: e.MAC}
		for id, mac := range n.MACs {
			if id != e.Container.ID {
				macs[id] = mac
			}
		}
		n.MACs = macs
	})
}

// forgetMACs drops those of containers that are no more.
func (d *Driver) forgetMACs(containers []engine.Container) error {
	for _, n := range d.state.Networks() {
		gone := func(id, _ string) bool {
			return !slices.ContainsFunc(containers, func(c engine.Container) bool { return c.ID == id })
		}
		kept := maps.Clone(n.MACs)
		maps.DeleteFunc(kept, gone)
		if len(kept) == len(n.MACs) {
			continue
		}
		err := d.state.ChangeNetwork(n.ID, func(n *journal.Network) {
			n.MACs = maps.Clone(n.MACs)
			maps.DeleteFunc(n.MACs, gone)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// askedMAC is the MAC that a stopped container asked for on a network, as the
// engine tells it, or as it was when the container last ran; nil for none.
func askedMAC(container string, a engine.Attachment, n journal.Network) net.HardwareAddr {
	if len(a.Settings.MAC) > 0 {
		return a.Settings.MAC
	}
	mac, err := net.ParseMAC(n.MACs[container])
	if err != nil {
		return nil
	}
	return mac
}
