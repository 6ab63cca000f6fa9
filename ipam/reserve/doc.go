// Package reserve is addresses that operators keep back, for a container's name or
// for nobody: a Book is what an agent knows of them, a Desk makes and ends them.
package reserve
