//go:build !failpoint

package ipam

// failpoint marks the place between a transaction and the journal entry that
// follows from it. A build tagged failpoint can end the agent there, as a
// crash would.
func failpoint(string) {}
