package doctor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"gvlan/cluster/gossip"
	"gvlan/cmd/internal/api"
)

// checkClock compares this host's clock with those of its peers.
func checkClock(_ context.Context, f *facts) (string, []Finding, error) {
	if f.members.err != nil {
		return "", nil, f.members.err
	}
	clocks := api.CompareClocks(f.members.value)
	if clocks.Compared == 0 {
		return "", nil, notNeeded("no other host told its clock")
	}
	saw := fmt.Sprintf("hosts compared: %d", clocks.Compared)
	off := clocks.Off
	if len(off) == 0 {
		return saw, nil, nil
	}
	if clocks.Own {
		return saw, []Finding{offClock("this host's clock is "+api.Aside(-*off[0].ClockAhead)+" of most others'", "this host", off[0].ClockApart())}, nil
	}
	var found []Finding
	for _, m := range off {
		found = append(found, offClock(fmt.Sprintf("the clock of %s is %s of this host's", m.Name, api.Aside(*m.ClockAhead)), m.Name, m.ClockApart()))
	}
	return saw, found, nil
}

func offClock(what, where string, apart time.Duration) Finding {
	x := Finding{
		Severity: Hint,
		What:     what,
		Why:      "what is said of times (since when, for how long) is wrong by that; from some minutes on certificates are refused",
		Cure:     "timedatectl set-ntp true on " + where + ", or chronyc makestep where chrony runs",
	}
	if apart > api.ClocksFarApart {
		x.Severity = Fault
	}
	return x
}

// checkGossip looks who answers here, and whether by both ways.
func checkGossip(_ context.Context, f *facts) (string, []Finding, error) {
	switch {
	case f.status.err != nil:
		return "", nil, errNoAgent
	case f.status.value.Gossip == nil:
		return "", nil, notNeeded("--gossip off")
	case f.members.err != nil:
		return "", nil, f.members.err
	}
	port := strconv.Itoa(int(f.Config.Gossip.Port))
	var silent, indirect []string
	connected, answering := 0, 0
	for _, m := range f.members.value {
		if m.Node == f.status.value.Node || m.Etcd != "connected" {
			continue
		}
		connected++
		switch {
		case m.Gossip != string(gossip.Alive):
			silent = append(silent, m.Name)
		case !m.Direct.IsZero() && f.Now().Sub(m.Direct) > indirectFor(len(f.members.value)):
			indirect = append(indirect, m.Name)
		default:
			answering++
		}
	}
	saw := fmt.Sprintf("%d of %d connected hosts answer", answering, connected)
	var found []Finding
	if len(silent) > 0 {
		found = append(found, Finding{
			Severity: Fault,
			What:     fmt.Sprintf("%s: connected to the store, but no peer gets an answer", list(silent)),
			Why:      "containers there go last in answers to names, and a death of that host is told from a broken link late",
			Cure:     "open UDP and TCP " + port + " between this host and those: gvlan doctor there says whether its firewall is in the way",
		})
	}
	if len(indirect) > 0 {
		found = append(found, Finding{
			Severity: Fault,
			What:     fmt.Sprintf("%s: gives this host itself no answer over UDP any more, though it is there for others", list(indirect)),
			Why:      "the link between the two works one way only, or a firewall between them drops UDP " + port,
			Cure:     "open UDP and TCP " + port + " both ways between the two",
		})
	}
	return saw, append(found, judgeRefused(*f.status.value.Gossip, f.Now().Sub(f.status.value.Started), port)...), nil
}

// indirectFor is how old a peer's last answer to this host itself may be: each
// host asks one other a second, in turns.
func indirectFor(members int) time.Duration {
	return time.Minute + 5*time.Second*time.Duration(members)
}

// manyAnHour is from how many on something is in the way: a few are the load's, or
// a change of keys, and an agent that runs for months has seen some.
const manyAnHour = 20

// judgeRefused reads the counts, since the agent began, of what came from peers and
// was not taken.
func judgeRefused(g api.GossipStatus, runs time.Duration, port string) []Finding {
	many := uint64(manyAnHour * max(1, runs.Hours()))
	var found []Finding
	if g.UDPBlocked >= many {
		found = append(found, Finding{
			Severity: Hint,
			What:     fmt.Sprintf("%d probes of peers were answered over TCP only", g.UDPBlocked),
			Why:      "UDP is lost between this host and some other: deaths are noticed late",
			Cure:     "open UDP " + port + " both ways; gvlan members shows whose last answer is old",
		})
	}
	if g.RefusedKey >= many {
		found = append(found, Finding{
			Severity: Hint,
			What:     fmt.Sprintf("%d packets came without the cluster's key", g.RefusedKey),
			Why:      "a host has an older key, or is none of this cluster",
			Cure:     "gvlan members shows who does not answer; restart the agent there. gvlan key rotate if the key is known to strangers",
		})
	}
	return found
}

// isLocal reports whether an address to listen on is for this host only.
func isLocal(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// portOf is the port of an address to listen on, 0 for none.
func portOf(hostPort string) uint16 {
	_, text, err := net.SplitHostPort(hostPort)
	if err != nil {
		return 0
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}

// storePorts are those at which this host serves the store, where it does or
// may: three, one after the other.
func storePorts(f *facts) []uint16 {
	if f.Config.External() || f.Config.Swarm {
		return nil
	}
	base := uint16(defaultStorePort)
	if port := portOf(f.Config.Etcd.Listen); port != 0 {
		base = port
	}
	if f.store.err == nil {
		i := slices.IndexFunc(f.store.value.Members, func(m api.StoreMember) bool { return m.Node == f.status.value.Node })
		if i >= 0 {
			if port := portOf(f.store.value.Members[i].Address); port != 0 {
				base = port
			}
		}
	}
	return []uint16{base, base + 1, base + 2}
}

const defaultStorePort = 2379
