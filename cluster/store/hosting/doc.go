// Package hosting is a host's part in the cluster's own store: what the host
// remembers of the cluster, its certificates, and the member it runs while it is
// asked to.
//
//	book.go     which cluster this host is of, and where its members are
//	store.go    what a host stands for: solo, of a cluster, or about to join one
//	picture.go  what the store itself says of its members and certificates
//	seat.go     the member, from the asking to the end
//	papers.go   certificates, roots and the join secret, kept up to date
//	doors.go    asking members' doors, when the store does not answer
//	life.go     which life of the store the data here is of
//	anew.go     another life: recover and restore
//	roster.go   the membership as the steward wants it
//
// See DESIGN.md in this folder.
package hosting
