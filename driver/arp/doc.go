// Package arp hears who uses which address on the LANs of this host: by the ARP and
// the neighbor advertisements that reach its parents anyway. It sends nothing, and
// has no interface hear more than it does by itself (no promiscuous mode). Most is
// left out in the kernel, by a filter; of a flood most is dropped.
package arp
