// Package door is who may look at the page (cmd/internal/web) over TCP: whoever has the
// password, was let in by a reverse proxy, or has a key that `gvlan web` asked the
// agent for. Nobody else is shown anything of it.
//
//	door.go         who is let in, and the server
//	keys.go         links that let one browser in, and what it then has
//	guesses.go      how often a wrong password may be tried
//	refused.go      what everybody else is told
//	certificate.go  the certificate: one that is given, or the agent's own
package door
