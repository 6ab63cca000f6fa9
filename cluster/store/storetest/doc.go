// Package storetest holds what the tests of every room need of the store:
// Mem, an in-memory store with the revisions, transactions, watches and
// leases of etcd; Wire, a connection to a store that can be cut; Spy, which
// records who wrote what; and Run, the suite that holds Mem and etcd to one
// behaviour.
package storetest
