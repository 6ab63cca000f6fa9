package driver

import (
	"context"

	"gvlan/driver/journal"
	"gvlan/driver/visible"
)

// Sandboxes answers names inside containers; *sandbox.Resolvers of dns is one. A
// container starts and stops also without names, so both report their own
// failures.
type Sandboxes interface {
	// Attach makes the names of a network (definition uuid) known in a
	// sandbox (SandboxKey) for as long as the endpoint is there.
	Attach(sandbox, endpoint, network string) error
	// Detach ends that.
	Detach(endpoint string)
}

// openSandbox makes names answer in the endpoint's sandbox, before its first
// process runs on engines that have the namespace at Join (from 28).
func (d *Driver) openSandbox(n journal.Network, e journal.Endpoint) {
	if d.cfg.Sandboxes == nil || n.Options.NoDNS || e.Sandbox == "" {
		return
	}
	if err := d.cfg.Sandboxes.Attach(d.cfg.OnHost(e.Sandbox), e.ID, n.UUID); err != nil {
		d.log.Debug("names are not answered inside a container", "endpoint", visible.ID(e.ID), "why", err)
	}
}

// dropSandbox ends that.
func (d *Driver) dropSandbox(e journal.Endpoint) {
	if d.cfg.Sandboxes != nil {
		d.cfg.Sandboxes.Detach(e.ID)
	}
}

// reopenSandboxes gives every running container its names again after a
// restart of the agent.
func (d *Driver) reopenSandboxes(context.Context) error {
	for _, e := range d.state.Endpoints() {
		if n, ok := d.state.Network(e.Network); ok {
			d.openSandbox(n, e)
		}
	}
	return nil
}

// renameSandboxes moves a network's sandboxes to the definition it was bound
// to.
func (d *Driver) renameSandboxes(n journal.Network) {
	for _, e := range d.state.EndpointsOf(n.ID) {
		d.dropSandbox(e)
		d.openSandbox(n, e)
	}
}
