// Package dnstest has what tests of names lean on: a zone that is fed as the
// store's watch feeds it, with a house of a few containers, and a network
// namespace as Docker leaves it to a container.
package dnstest
