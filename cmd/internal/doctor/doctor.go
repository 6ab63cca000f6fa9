package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gvlan/driver/engine"
)

// Severity is how bad a finding is.
type Severity string

const (
	// Fault: something does not work, or will not when it is used.
	Fault Severity = "fault"
	// Hint: something works otherwise than people expect, or may fail one day.
	Hint Severity = "hint"
)

// Finding is one thing that is wrong.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why"`  // it matters
	Cure     string   `json:"cure"` // a command where there is one
}

// Looked is what one check looked at.
type Looked struct {
	Check      string `json:"check"`
	Saw        string `json:"saw,omitempty"`
	NotChecked string `json:"notChecked,omitempty"` // why not
}

// Report is the outcome of an examination.
type Report struct {
	Host     string    `json:"host"`
	Time     time.Time `json:"time"`
	Healthy  bool      `json:"healthy"` // no fault was found
	Findings []Finding `json:"findings"`
	Checks   []Looked  `json:"checks"`
}

// check is one look at the facts: what it saw, in a few words, and what is
// wrong. Its error is why it could not be done.
type check struct {
	name string
	run  func(context.Context, *facts) (saw string, found []Finding, err error)
}

// checks are all of them, in the order in which one explains the next.
func checks() []check {
	return []check{
		{"agent", checkAgent},
		{"secrets", checkSecrets},
		{"kernel", checkKernel},
		{"engine", checkEngine},
		{"plugin", checkPlugin},
		{"parents", checkParents},
		{"mtu", checkMTU},
		{"machine", checkMachine},
		{"ipv6", checkIPv6},
		{"routes", checkRoutes},
		{"store", checkStore},
		{"disk", checkDisk},
		{"clock", checkClock},
		{"gossip", checkGossip},
		{"firewall", checkFirewall},
		{"ports", checkPorts},
		{"names", checkNames},
		{"services", checkServices},
		{"published", checkPublished},
		{"leftovers", checkLeftovers},
	}
}

// Examine looks at the whole host. It takes a second or two.
func Examine(ctx context.Context, h Host) Report {
	f := gather(ctx, h)
	r := Report{Host: h.Name, Time: h.Now(), Healthy: true, Findings: []Finding{}}
	for _, c := range checks() {
		saw, found, err := c.run(ctx, f)
		looked := Looked{Check: c.name, Saw: saw}
		if err != nil {
			looked.NotChecked = reason(err)
		}
		r.Checks = append(r.Checks, looked)
		for _, x := range found {
			x.Check = c.name
			r.Healthy = r.Healthy && x.Severity != Fault
			r.Findings = append(r.Findings, x)
		}
	}
	return r
}

// reason is why a check was not done, in one line.
func reason(err error) string {
	switch {
	case errors.Is(err, engine.ErrUnavailable):
		return "the Docker engine does not answer"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// errNoAgent is why what only the agent knows was not checked.
var errNoAgent = errors.New("the agent does not answer")

// notNeeded is why a check has nothing to look at.
func notNeeded(format string, args ...any) error { return fmt.Errorf(format, args...) }
