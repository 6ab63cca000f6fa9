// Package node is this node as an allocator has it: what it remembers, how it
// speaks to the store (one transaction to a definite outcome, whether the store
// answers, whether it is trusted), and whose turn an address is among this
// node's own calls. It gives and takes nothing by itself.
package node
