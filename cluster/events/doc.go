// Package events tells what happened lately in the cluster: which container was
// given which address on which host, who let go of one, which networks and hosts
// came and went. Every host tells what happens there (Recorder, a Teller), and
// any host reads what all of them told (Read, Follow).
//
// See DESIGN.md in this folder.
package events
