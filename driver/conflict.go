package driver

import (
	"errors"
	"fmt"

	"gvlan/driver/journal"
)

// ErrNameLost: the network's name belongs to another definition, and no
// container ran on the network before that was known.
var ErrNameLost = errors.New("network is not the cluster's")

// noteClash remembers that a network lost its name before any container ran
// on it, which is what unused says: whoever makes a network with other settings than the cluster's, as an
// edited compose file does, would start containers that no other host reaches
// and no other host knows by name. Docker shows an error where it shows no
// warning, so it is the containers' start that tells. What ran before goes on,
// and starts again: that it lost its name is no reason to end it.
func noteClash(n *journal.Network, why string, unused bool) {
	if n.Stage == journal.StageSeen && n.Why == "" && why != "" {
		n.NameLost = unused
	}
}

// refuseLost refuses a container on a network that lost its name.
func (d *Driver) refuseLost(n journal.Network) error {
	if !n.NameLost {
		return nil
	}
	return fmt.Errorf("%w: network %s on node %s: %s: remove its containers and the network here, and the cluster's comes in its place; or make it with the settings that `gvlan network inspect %s` shows, or under another name",
		ErrNameLost, n.Title(), d.cfg.host(), n.Why, n.Title())
}
