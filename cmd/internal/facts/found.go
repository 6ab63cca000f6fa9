package facts

import (
	"fmt"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/survey"
)

// Names of what became of a container that has no address: one of these for each that
// it wants.
const (
	Stopped = "stopped"
	Removed = "removed"
)

// OfFound is what there is to say of one thing that a whois finds.
func OfFound(found api.Found, now time.Time) (f Facts) {
	switch found.Kind {
	case api.FoundAddress:
		f.lease(*found.Lease, now)
		f.lan(found)
		for _, l := range found.Learnt {
			f.add("learnt", fmt.Sprintf("%s, by container %s on %s (SLAAC): not leased", l.Address, l.Container, l.Host))
		}
		for _, w := range found.Wants {
			if w.Removed {
				f.add("wanted", fmt.Sprintf("by the next container called %s, as the one that was removed on %s", w.Container, w.Host))
			} else {
				f.add("wanted", fmt.Sprintf("by stopped container %s on %s, when it starts", w.Container, w.Host))
			}
		}
	case api.FoundMAC:
		f.add("mac", found.MAC)
		f.add("state", "no container of gvlan's has it")
		for _, m := range found.Met {
			f.add("lan", fmt.Sprintf("this host met it as %s at %s", m.Address, m.Parent))
		}
	case api.FoundContainer:
		f.add("container", found.Container)
		f.add("state", "it has no address now")
		for _, w := range found.Wants {
			did := Stopped
			if w.Removed {
				did = Removed
			}
			f.add(did, fmt.Sprintf("on %s; when it starts it wants %s of network %s", w.Host, w.Address, terminal.OrDash(w.Network)))
		}
	case api.FoundReserved:
		f.reserved(*found.Reserved)
	case api.FoundHost:
		f.add("host", found.Host.Host)
		f.add("state", fmt.Sprintf("%s, %s on gvlan's networks", api.Word(found.Host.State), Counted(found.Host.Containers, "container")))
		f.add("address", found.Host.Address)
	case api.FoundNetwork:
		f.add("network", found.Network.Name)
		if found.Network.Node != "" {
			f.add("host", found.Network.Node+", the only one that has it")
		}
		f.add("subnets", strings.Join(found.Network.Subnets, ", "))
		f.add("state", Counted(found.Network.Containers, "container"))
	}
	f.before(found.Last, found.Kind != api.FoundAddress, now)
	return f
}

// Nothing says that a whois finds nothing.
func Nothing(of string) string {
	return "no address, container, host or network here is called " + of
}

// reserved tells of a reservation, and who has its address now.
func (f *Facts) reserved(r api.Reserved) {
	f.add("reserved", r.Address.String()+" of network "+r.Network)
	f.add("for", r.For)
	f.add("mac", r.MAC)
	f.add("note", r.Note)
	switch {
	case r.Host == "":
		f.add("now", "nobody has it")
	case r.Container == "":
		f.add("now", "a container on "+r.Host+" has it")
	default:
		f.add("now", "container "+r.Container+" on "+r.Host+" has it")
	}
}

// lan tells what the LAN said of an address.
func (f *Facts) lan(found api.Found) {
	l := found.LAN
	switch {
	case l == nil:
		return
	case len(l.Answers) > 0:
		for _, answer := range l.Answers {
			words := fmt.Sprintf("MAC %s answers on the LAN at %s", answer.MAC, answer.Parent)
			switch {
			case answer.Of != "":
				words += ": " + answer.Of
			case nobodys(found.Lease.State):
				words = "nobody of ours, but " + words
			}
			f.add("lan", words)
		}
	case len(l.At) > 0:
		f.add("lan", "nobody answers on the LAN at "+strings.Join(l.At, ", "))
	case len(l.Failed) == 0:
		f.add("lan", "could not be asked from this host: it has no parent there")
	}
	for _, why := range l.Failed {
		f.add("lan", "could not be asked from this host: "+why)
	}
}

// nobodys reports whether an address in that state is nobody's that gvlan knows of.
func nobodys(s survey.State) bool {
	switch s {
	case survey.Free, survey.Awaited, survey.Outside, survey.Resting, survey.Quarantined, survey.Excluded:
		return true
	}
	return false
}
