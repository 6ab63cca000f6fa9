package driver

import "context"

// Sandbox is a container's network namespace as names need it: one resolver
// per sandbox, for all gvlan networks in it.
type Sandbox struct {
	Key      string // SandboxKey
	Endpoint string // one of its endpoints
	Network  string // definition uuid of that endpoint's network
}

// Sandboxes opens and closes what answers names inside a sandbox. Both calls
// return quickly and report their own failures: a container starts and stops
// also without names.
type Sandboxes interface {
	Open(ctx context.Context, s Sandbox)
	Close(endpoint string)
}

// openSandbox makes names answer in the endpoint's sandbox, before its first
// process runs on engines that have the namespace at Join (from 28).
func (d *Driver) openSandbox(ctx context.Context, n hostNetwork, e hostEndpoint) {
	if d.cfg.Sandboxes == nil || n.Options.NoDNS {
		return
	}
	d.cfg.Sandboxes.Open(ctx, Sandbox{Key: e.Sandbox, Endpoint: e.ID, Network: n.UUID})
}

// dropSandbox ends that.
func (d *Driver) dropSandbox(e hostEndpoint) {
	if d.cfg.Sandboxes != nil && e.Sandbox != "" {
		d.cfg.Sandboxes.Close(e.ID)
	}
}
