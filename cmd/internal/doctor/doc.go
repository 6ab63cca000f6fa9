// Package doctor examines a host for what keeps gvlan from working on it, and
// says what to do about it.
//
// Examine asks the kernel, the engine, the files of the host and, for what only
// it knows, the agent, all at once (facts.go), and then judges in the order of
// checks (doctor.go), each of which is a function of those facts. It runs in the
// command's own process: with the agent down what needs the agent is left out,
// and the report says so. It changes nothing on the host.
//
//	agent.go     the agent, the store, the room on its disk
//	kernel.go    what the kernel can do
//	parents.go   what containers hang from: links, MTU, the machine below
//	engine.go    Docker: its version, plugins, services, published ports
//	cluster.go   clocks, gossip
//	names.go     names inside containers, who else answers at port 53
//	ports.go     the firewall, and who holds our ports
//	leftovers.go what earlier agents left
//	host.go      the facts of a real host
package doctor
