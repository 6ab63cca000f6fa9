// Package gossip says who answers right now. Every agent gossips with every
// other (hashicorp/memberlist, UDP and TCP port 7947, encrypted), so that a
// node that stopped answering, is leaving, or is cut off on one side is seen
// within seconds and without a word to etcd.
//
// What it says is an opinion. It orders DNS answers and fills `gvlan node ls`;
// it never allocates, frees, deletes or fences anything. A Membership has no
// way to write to the store: it is given a Registry, which can only be read.
//
// EnsureKeys and Rotation make and replace the keys of the gossip. They do
// write; they are handed the store by the agent or the command that runs them.
//
// See DESIGN.md in this folder.
package gossip
