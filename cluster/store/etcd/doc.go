// Package etcd is the client of an etcd v3, embedded or an existing cluster,
// as a store.KV: it says which errors waiting may cure, sends a transaction
// once, and tells of each connection it makes.
package etcd
