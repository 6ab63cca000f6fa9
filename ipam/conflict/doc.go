// Package conflict keeps free addresses that somebody on the LAN answers for, who
// is nobody of the cluster's, out of what containers are given: who found one
// writes it into the store, any host that can ask there asks again, and it ends
// when nobody answers any more. How many there may be is bounded, so that a
// machine that answers for every address takes no pool away.
//
// See DESIGN.md in this folder.
package conflict
