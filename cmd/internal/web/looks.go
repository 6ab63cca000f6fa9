package web

import "gvlan/ipam/survey"

// look is how a state of an address is shown: by a colour and a shape, which its
// class has in style.css, a sign that is no other's, and words.
type look struct {
	State survey.State
	Sign  string // one character, "" for none
	Words string
	Means string // ends the sentence that they begin
}

// Class is the state's in style.css.
func (l look) Class() string { return "is-" + string(l.State) }

// looks are those of all states, in the order in which people are told of them, free last.
func looks() []look {
	return []look{
		{survey.Leased, "●", "leased", "a container has it"},
		{survey.Starting, "s", "starting", "it was given, and no container has it yet"},
		{survey.Swarm, "w", "kept by the swarm", "for a task or service that runs nowhere yet"},
		{survey.Conflict, "!", "in conflict", "a container has it, and somebody else on the LAN too"},
		{survey.Foreign, "x", "in conflict, not ours", "somebody on the LAN has it who is not gvlan's: it is not given"},
		{survey.Awaited, "z", "held for a stopped container", "which has it again when it starts: others are given it last"},
		{survey.Resting, "r", "resting", "a container left it a moment ago: it is given when nothing else is free"},
		{survey.Quarantined, "q", "quarantined", "its host was evicted: it is free ten minutes later, if nobody answers for it"},
		{survey.HostsOwn, "H", "host's own", "of a host's interface"},
		{survey.Gateway, "G", "gateway", "of the network"},
		{survey.Auxiliary, "A", "auxiliary", "--aux-address of the network"},
		{survey.Reserved, "R", "reserved", "by an operator, or for a network"},
		{survey.Excluded, "E", "excluded", "the network never gives it (exclude=)"},
		{survey.Unusable, "–", "unusable", "the subnet's own or broadcast address"},
		{survey.Unreadable, "?", "unreadable", "a newer gvlan wrote its record"},
		{survey.Outside, "o", "outside", "no network has it"},
		{survey.Free, "", "free", "nobody has it"},
	}
}

// looksByState finds them. A state that a newer agent would tell of has none.
func looksByState() map[survey.State]look {
	all := map[survey.State]look{}
	for _, l := range looks() {
		all[l.State] = l
	}
	return all
}
