// Package api is what an operator's command and this host's agent say to each
// other: JSON over HTTP on a Unix socket that only root can open.
//
// Each room of questions has its routes beside the bodies of its answers
// (status.go, network.go, node.go, name.go, store.go); called.go is what
// people call a node, and its state. Server and Client know no route. Where a body is what
// another package of gvlan returns, it is sent as that package defines it. An
// older agent may answer a newer command, and the other way round: fields come
// and go, none changes its meaning.
package api
