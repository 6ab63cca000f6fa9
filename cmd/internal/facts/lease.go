package facts

import (
	"fmt"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/terminal"
	"gvlan/driver/visible"
	"gvlan/ipam/pool"
	"gvlan/ipam/survey"
)

// OfLease is all there is of an address that has a record.
func OfLease(d api.LeaseDetail, now time.Time) (f Facts) {
	f.lease(d.LeaseView, now)
	if d.MAC != "" {
		f.add("endpoint", visible.ID(d.Endpoint))
	}
	if d.Key != "" {
		f.add("key", d.Key)
		f.add("revision", fmt.Sprintf("%d (made at %d)", d.Modified, d.Created))
	}
	if r := d.Record; r != nil {
		f.add("record", strings.Join(recordWords(d), ", "))
		f.add("kept for", strings.Join(r.By, ", "))
	}
	f.before(d.Last, false, now)
	return f
}

// lease tells of an address.
func (f *Facts) lease(v api.LeaseView, now time.Time) {
	f.add("address", v.Address.String())
	state := State(v)
	if v.Why != "" && v.State != survey.Auxiliary {
		state += ": " + v.Why
	}
	f.add("state", state)
	network := Network(v)
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

// State is what has become of an address, in words.
func State(v api.LeaseView) string {
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
	case survey.Awaited:
		return "free, and held for a stopped container"
	}
	return string(v.State)
}

// before tells of the containers that had an address, and which one that was
// where it is not the one that was asked for.
func (f *Facts) before(last []api.Holder, which bool, now time.Time) {
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

// Network is a network's name, or what of its id there is.
func Network(v api.LeaseView) string {
	if v.Network != "" {
		return v.Network
	}
	return visible.ID(v.NetworkID)
}

// Container is a container's name, or what of its endpoint's id there is.
func Container(v api.LeaseView) string {
	switch {
	case v.Container != "":
		return v.Container
	case v.State == survey.Reserved && v.Reservation != nil:
		return v.Reservation.For
	case v.State == survey.Leased && v.ContainerID == "":
		return visible.ID(v.Endpoint)
	}
	return visible.ID(v.ContainerID)
}

// recordWords are the fields of a lease's record that nothing else tells of.
func recordWords(d api.LeaseDetail) (words []string) {
	r := d.Record
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+" "+value)
		}
	}
	add("state", string(r.State))
	add("kind", string(r.Kind))
	add("node", r.Node)
	if r.Epoch != 0 {
		add("epoch", fmt.Sprint(r.Epoch))
	}
	add("nonce", r.Nonce)
	if r.Claims != nil && r.Claims.Manager {
		add("claimed by", "the swarm's manager")
	}
	if r.Claims != nil && r.Claims.Worker {
		add("claimed by", "a worker")
	}
	return words
}
