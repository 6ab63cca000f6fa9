// Package authority is who may speak to a cluster's own store, and how that is
// proven: the authority that signs certificates, the token that somebody joins
// with, and the identity of a host, which is a folder of keys and certificates
// that TLS configurations follow. Standard library only; DESIGN.md says what
// holds.
package authority
