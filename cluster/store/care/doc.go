// Package care keeps the cluster's own store, the etcd that gvlan brings along,
// healthy: it gives space back to the disks, gets it out of a quota that is used
// up, and says what it cannot cure.
//
// View is what is known of the members at one moment, and what follows from
// that: pure functions. Caretaker looks, on every host of the cluster, and acts on
// the one whose member leads.
//
// See DESIGN.md in this folder.
package care
