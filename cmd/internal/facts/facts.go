// Package facts says in words what is known of an address, a container, a host or a
// network: what commands print of it and the page shows.
package facts

import (
	"fmt"
	"time"

	"gvlan/cmd/internal/terminal"
)

// Fact is a name and what there is to say. One without a name goes on with what the
// one before it is of.
type Fact struct{ Name, Text string }

// Facts are in the order in which they are told.
type Facts []Fact

// add adds a fact, unless there is nothing to say.
func (f *Facts) add(name, text string) {
	if text != "" {
		*f = append(*f, Fact{name, text})
	}
}

// Age says that etcd does not answer, where something is what it said last; ""
// where it is as it is now.
func Age(asOf, now time.Time) string {
	if asOf.IsZero() {
		return ""
	}
	return fmt.Sprintf("etcd does not answer this host: this is what containers had %s ago", terminal.Since(asOf, now))
}

// LastSaid is the same of networks and hosts.
func LastSaid(asOf, now time.Time) string {
	if asOf.IsZero() {
		return ""
	}
	return fmt.Sprintf("etcd does not answer this host: this is what it said %s ago", terminal.Since(asOf, now))
}

// Counted is how many there are of what.
func Counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
