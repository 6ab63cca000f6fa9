// Package command is what operators' commands do to the networks of this host
// and the cluster, and what they see.
package command
