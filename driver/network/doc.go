// Package network is the life of networks on this host: what Docker's calls on
// them do, replicas made of definitions and definitions of networks, removals,
// imports, and what a swarm keeps.
package network
