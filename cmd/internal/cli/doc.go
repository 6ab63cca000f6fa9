// Package cli is what an operator types and reads. Each command reads its
// flags, asks this host's agent over the status socket (package api) and prints
// the answer; none looks at etcd, Docker or the kernel itself. The one that
// runs an agent is handed a function that does.
package cli
