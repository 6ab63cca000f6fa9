// Package support packs what somebody needs who looks into a bug: one archive of
// what the agent, the engine, the kernel and the logs of a host say.
//
// Write makes it. A part that fails becomes a text that says why, so that an
// archive is made whatever is broken. Nothing in it is a secret: what a secret
// looks like is taken out of every part, and so are those this host knows
// (secrets.go). Names of containers, hosts, networks and domains are replaced by
// pseudonyms on request, the same one for the same name throughout (names.go).
package support
