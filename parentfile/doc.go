// Package parentfile decides which interface of this host a network hangs
// from. It parses the ordered parent list of `-o parent=`, the per-host file
// of `-o parent-file=` and the per-host table behind `-o parent=@host`, and
// resolves a list against an inventory of the host's interfaces.
//
// The package is pure: it opens no netlink socket and makes no link. The only
// thing it reads is the parent file.
//
// A list is tried in order and the first usable candidate wins, on each host
// separately. A candidate is one of:
//
//	eth0                    an interface of that name, of any type
//	eth0.65                 the link of that name, else VLAN 65 of eth0
//	eth0.100.200            QinQ: VLAN 200 inside VLAN 100 of eth0
//	eth0:65                 the oldest guide's spelling of eth0.65
//	default-route           the interface that holds the host's default route
//	default-route.65        VLAN 65 of that interface
//	subnet:192.168.1.0/24   the interface with an address in that subnet
//	en*, en*.65             the first interface, by name, that the glob matches
//	!eth1, !docker*         never this one, wherever it stands in the list
//	@host                   this host's agent configuration decides
//
// Usable means that the link, or the master its VLAN belongs to, exists. It
// needs no address and may be down.
package parentfile
