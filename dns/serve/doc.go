// Package serve has the sockets of a DNS server: what the listener on the
// host and the resolvers in sandboxes have in common.
//
// A Server answers most questions on the goroutine that read their packet
// (Inline), and leaves the others, and all over TCP, to a handler of the
// library. The sockets of a Batched one read and write many packets by one
// system call. What clients may hold of a server is a Quota. The package knows
// nothing of names. See DESIGN.md in this folder.
package serve
