// Package probe asks the LAN for addresses before containers are given them, and
// keeps a small stock of free ones that nobody answered for, so that a start does
// not wait: which of them are silent since when, which answered, and what is
// asked for next.
//
// See DESIGN.md in this folder.
package probe
