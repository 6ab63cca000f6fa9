// Package cluster joins what etcd says of the nodes with what the gossip says
// of them. Directory mirrors etcd's side and is the registry of a
// gossip.Membership; View is both sides, a row a node.
//
// See DESIGN.md in this folder.
package cluster
