// Package listen answers names on addresses of the host: for the host itself,
// and for the LAN when told to.
//
// A Listener serves the whole domain and the networks' reverse zones. What is
// neither is refused, or asked of other servers by a Forwarder. Setup is what
// other resolvers have to be told so that they send gvlan's names here. See
// DESIGN.md in this folder.
package listen
