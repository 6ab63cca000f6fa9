// Package cluster runs hosts without Docker: real agents and real etcd members
// as processes, each agent with an engine that is played and a wire to etcd that
// can be cut, delayed and made to lose replies.
package cluster
