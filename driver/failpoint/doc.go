// Package failpoint marks the places between two writes. A build tagged
// failpoint ends the agent at the one that GVLAN_FAILPOINT names, as a crash
// would.
package failpoint
