package leases

import (
	"fmt"
	"io"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/terminal"
	"gvlan/driver/visible"
	"gvlan/ipam/pool"
	"gvlan/ipam/survey"
)

// facts are lines of a name and what there is to say.
type facts struct{ lines [][]string }

// add adds a line, unless there is nothing to say.
func (f *facts) add(name, text string) {
	if text != "" {
		f.lines = append(f.lines, []string{name, text})
	}
}

func (f *facts) print(out io.Writer) error {
	return terminal.Table{Rows: f.lines, Plain: true}.Print(out)
}

// lease tells of an address.
func (f *facts) lease(v api.LeaseView, now time.Time) {
	f.add("address", v.Address.String())
	state := stateWords(v)
	if v.Why != "" && v.State != survey.Auxiliary {
		state += ": " + v.Why
	}
	f.add("state", state)
	network := networkOf(v)
	if v.Segment != pool.DefaultSegment && v.Segment != "" && network != "" {
		network += " (segment " + v.Segment + ")"
	}
	f.add("network", network)
	f.add("container", withID(v.Container, v.ContainerID))
	f.add("host", v.Host)
	if r := v.Reservation; r != nil {
		words := "for nobody"
		if r.For != "" {
			words = "for container " + r.For
		}
		if r.MAC != "" {
			words += ", with MAC address " + r.MAC
		}
		if r.Note != "" {
			words += " (" + r.Note + ")"
		}
		f.add("reserved", words)
	}
	f.add("mac", v.MAC)
	if v.MAC != "" {
		f.add("parent", v.Parent)
	}
	switch {
	case !v.Since.IsZero():
		f.add("since", fmt.Sprintf("%s ago (%s)", terminal.Since(v.Since, now), v.Since.UTC().Format("2006-01-02 15:04 MST")))
	case v.State.Held():
		f.add("since", "not known")
	}
}

func withID(name, id string) string {
	switch {
	case name == "":
		return visible.ID(id)
	case id == "":
		return name
	}
	return name + " (" + visible.ID(id) + ")"
}

// stateWords are a state in words.
func stateWords(v api.LeaseView) string {
	switch v.State {
	case survey.Gateway, survey.Auxiliary:
		words := "gateway"
		if v.State == survey.Auxiliary {
			words = "auxiliary address " + v.Why
		}
		return strings.TrimSpace(words) + " of the network"
	case survey.HostsOwn:
		return "a host's own"
	case survey.Outside:
		return "in no network of gvlan's"
	case survey.Foreign:
		return "in conflict: somebody on the LAN has it who is not gvlan's"
	case survey.Conflict:
		return "in conflict"
	}
	return string(v.State)
}

// before tells of the containers that had an address, and which one that was
// where it is not the one that was asked for.
func (f *facts) before(last []api.Holder, which bool, now time.Time) {
	name := "before"
	for _, h := range last {
		words := h.Container
		if words == "" {
			words = "a container"
		}
		words += " on " + h.Host
		if which {
			words += " had " + h.Address.String()
		}
		from, to := terminal.Since(h.From, now), terminal.Since(h.To, now)
		switch {
		case to != "" && from != "":
			words += fmt.Sprintf(", from %s until %s ago", from, to)
		case to != "":
			words += fmt.Sprintf(", until %s ago", to)
		default:
			words += fmt.Sprintf(", from %s ago", from)
		}
		f.add(name, words)
		name = ""
	}
}
