// Package group sends transactions that arrive while another one is under way
// together, as one: the store writes its log once for all of them. What it
// promises is in DESIGN.md.
package group
