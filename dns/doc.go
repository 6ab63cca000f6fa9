// Package dns answers for the names of gvlan's networks: inside every
// attached container, on the host, and for the LAN when told to.
//
// A Zone is an immutable picture of all names, fed by the store's watch and
// read without locks. Sandboxes puts a resolver into the network namespace
// of each container: it answers for the networks that container is on and
// passes everything else to Docker's own resolver in the same namespace. A
// Listener serves the whole domain and the networks' reverse zones on an
// address of the host, and forwards the rest when it has upstreams.
//
// The package imports only the records of the truth. What it needs of the
// machine (entering a namespace, judging which nodes are alive) is given to
// it as functions. See DESIGN.md in this folder.
package dns
