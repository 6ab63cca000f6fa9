// Package lab sets up a LAN of real Docker hosts on one machine.
//
// A lab is a bridge (the LAN), hosts with a network card on it, and a peer that is
// on the LAN without running anything of ours. Each of them is a [Machine]: a set of
// Linux namespaces with its own root file system, process table, host name and
// machine-id. Hosts run a real dockerd of a chosen [Release]; agents, etcd servers
// and probes are started inside the machines, and can be killed, paused, cut off and
// started again.
//
// Everything a lab makes hangs from one pipe per machine that its owner holds: the
// owner's death, however it comes, ends all of it. See DESIGN.md.
//
// The machine is prepared once with tests/lab/install.sh, as root on Debian 12.
package lab
