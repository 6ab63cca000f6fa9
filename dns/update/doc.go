// Package update keeps a zone of another DNS server told of this host's
// containers, by dynamic updates (RFC 2136). See DESIGN.md in this folder.
package update
