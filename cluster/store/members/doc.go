// Package members decides which hosts run a member of the cluster's own store,
// the etcd that gvlan brings along, and brings that about.
//
// View is what is known of hosts and members at one moment, and View.Next the
// one change that comes next: a pure function, which knows no clock and asks
// nobody. Steward looks, asks Next and does it, on the host whose member leads.
// What it did stands in the store, /store/members/<node>, where the host that
// is asked to run a member finds its place.
//
// See DESIGN.md in this folder for the rules and their order.
package members
