// Package driver is this host's half of gvlan: the networks and endpoints of
// its Docker engine as a state machine, what Docker's calls do (plugin has
// them), and the loops that bring what Docker, the store and the kernel each
// know together again.
//
// Handlers answer Docker from the journal and the store and never ask the
// engine anything. Everything that needs the engine happens after the
// handler returned: network.Replicas makes definitions of networks and
// networks of definitions, publish.Containers learns what containers are
// called, reconcile finds what Docker forgot to say.
//
// See DESIGN.md in this folder.
package driver
