// Package link makes and removes the network links of containers and of their
// parents: macvlan and ipvlan links, VLAN links and dummies.
//
// A Spec says what a link should be; it is plain data and can be judged
// without a kernel. A Kernel makes it so in one network namespace, as often as
// it is told to. Every link it makes carries an owner mark that outlives the
// agent, and links without this driver's mark are used as they are: never
// changed, never removed. See DESIGN.md for the order that keeps this true
// when the agent dies half way.
//
//	spec.go       what a link should be, and what it is called
//	kernel.go     one namespace: finding links, and whose they are
//	ensure.go     making and removing them
//	inventory.go  the host's interfaces, who hangs from one, and what changes
//	use.go        who may share a parent
//	shim.go       the host's own link beside its containers'
//	lan.go        telling a LAN who has an address (Announce), and asking (Ask)
//	host.go       addresses and routes of a namespace
//	address.go    one more address of an interface, and taking it away
package link
