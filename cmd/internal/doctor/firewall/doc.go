// Package firewall says whether this host's own packet filter is in the way of
// a connection from another host: it walks a first packet through the rules as
// the kernel would, without sending one.
//
// Read lists the rules of nftables, those that iptables keeps there among them,
// and Legacy those of iptables-legacy. Ruleset.Judge walks them. A rule whose condition cannot be told from outside
// (the load, a mark, a list the kernel keeps to itself) may match or not, and so
// the verdict may be uncertain; it says so.
//
//	ruleset.go  what is read of nftables
//	legacy.go   the filter table of iptables that is kept beside it
//	walk.go     from chain to chain
//	match.go    whether one rule matches
package firewall
