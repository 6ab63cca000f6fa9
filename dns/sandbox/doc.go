// Package sandbox answers names inside containers: it puts a resolver into the
// network namespace of each container that is on a network of ours.
//
// Resolvers attaches and detaches sandboxes and keeps their resolvers. A
// resolver answers for the networks its container is on, from the zone, and
// passes everything else to Docker's own resolver in the same namespace.
// Questions come to it by an nftables table that the kernel disarms when this
// process does not refresh it, so that names fall back to Docker's resolver
// when the agent dies. See DESIGN.md in this folder.
package sandbox
