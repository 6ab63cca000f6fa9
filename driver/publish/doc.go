// Package publish is what this host tells the cluster: of its containers, in
// their endpoints' records, and of itself, in the node's record and its
// references.
package publish
