// Package session is a node's right to write. A Session owns the node's epoch,
// adds it to every transaction, and watches over the store's identity, so that
// a node that was replaced or evicted changes nothing and a store that lost
// its past gives no address. The order it keeps is in DESIGN.md.
package session
