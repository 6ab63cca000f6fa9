// Package engine is everything gvlan asks of the Docker Engine of its own host:
// its labels and swarm state, its networks and containers, its events, and the
// few changes gvlan makes there (create and remove a network, attach and detach
// a container, start one).
//
// It speaks the Engine API over the unix socket, with engines from 20.10
// (API 1.41) to today's, and returns plain structs of its own, so that what
// differs between engines is settled here and nowhere else. Its errors wrap the
// sentinels in errors.go.
//
//	engine.go     the socket and the version; the engine itself, its events, the swarm
//	network.go    networks
//	container.go  containers, and how they are attached
//	swarm.go, info.go, event.go  what is read of those
//
// Nothing here may be called from a plugin handler, nor with a lock held that a
// handler takes: the engine holds its own locks while it waits for the plugin.
package engine
