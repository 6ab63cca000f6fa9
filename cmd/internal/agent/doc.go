// Package agent builds the agent of a host out of its parts and runs it.
//
// Run settles what needs no part: who this agent is, its folder, its log
// (start.go). Then agent.go, which is meant to be read from top to bottom:
// build opens every part after those it needs, run starts them and ends them in
// the order of who needs whom, serve is the list of loops. No decision about
// networks, addresses or names is taken here; what is decided is when a part
// may act:
//
//	truth.go     the etcd in use, embedded or not, and whose token it is
//	journal.go   what this host remembers of its cluster
//	nodes.go     who is there and answers, and what this node tells of itself
//	recovery.go  a store that lost its past, a name another install had
//	names.go     who answers questions about names
//	routers.go   which routers are told where containers are
//	metrics.go   what Prometheus, supervisors and the log are told of all of them
//	backups.go   the copies of the store that this host takes
//
// Operators are answered by cmd/internal/answer. DESIGN.md says what the order
// is for.
package agent
