// Package frame makes gvlan's commands alike: how each asks this host's agent,
// prints what it got, says what it waits for, fails and is completed.
package frame
