// Package zone knows every name of the cluster's containers, and answers from
// that.
//
// A Zone is fed by the store's watch (ApplyNetworks, ApplyEndpoints): each
// change becomes a new snapshot, which readers find without a lock. A question
// is answered in a Scope, the networks it may see, either from its packet
// (AnswerPacket) or as a message (Answer). Where the zone has no answer the
// question is not its own, and whoever serves passes it on or refuses it.
//
// Read zone.go, then snapshot.go for how a name is found. The package imports
// the records of the truth and nothing else of ours. See DESIGN.md in this
// folder.
package zone
