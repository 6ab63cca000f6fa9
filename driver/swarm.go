package driver

import (
	"context"

	"gvlan/ipam"
)

// AllocateNetwork joins a swarm network's pools to it on the swarm's leader,
// which is asked for every address of its services and tasks and never sees a
// CreateNetwork of its own.
func (d *Driver) AllocateNetwork(_ context.Context, id string, pools []ipam.PoolData) error {
	return d.addresses.Attach(id, pools)
}

// FreeNetwork forgets it again.
func (d *Driver) FreeNetwork(_ context.Context, id string) error {
	return d.addresses.Detach(id)
}
