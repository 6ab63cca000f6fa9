// Package linktest has a Kernel in memory for tests of code that makes links,
// and the conformance table that keeps it honest: the table runs against it
// and against the real kernel alike.
//
// The memory Kernel knows names, kinds, modes, parents, marks, MTUs and the
// rules by which a parent takes links. It carries no packets.
package linktest
