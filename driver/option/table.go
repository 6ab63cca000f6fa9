package option

import (
	"fmt"
	"strings"

	"gvlan/driver/link"
	"gvlan/ipam/pool"
)

// Described is one option of a network as people are told of it: in the help of
// the commands, in the READMEs and by a shell that completes it.
type Described struct {
	Name    string
	Value   string   // what stands for its value, as LIST; "" where Words has all there are
	Words   []string // the values there are, or those worth naming
	Default string   // of Words; "": none of them
	Meaning string   // in a line, without a full stop
}

// Network describes the options of -o.
func Network() []Described {
	return []Described{
		{Name: "parent", Value: "LIST", Words: []string{"default-route", "@host"}, Meaning: "interfaces to hang from; the first usable one wins, on each host separately"},
		{Name: "parent-file", Value: "/PATH", Meaning: "a file on every host that says the list there"},
		{Name: "kind", Words: words(link.Macvlan, link.Ipvlan), Default: string(link.Macvlan), Meaning: "what links are made, where no mode says it"},
		{Name: "macvlan_mode", Words: words(link.Bridge, link.Private, link.VEPA, link.Passthru), Default: string(link.Bridge), Meaning: "makes the network macvlan"},
		{Name: "ipvlan_mode", Words: words(link.L2, link.L3, link.L3S), Default: string(link.L2), Meaning: "makes the network ipvlan"},
		{Name: "ipvlan_flag", Words: words(link.FlagBridge, link.FlagPrivate, link.FlagVEPA), Default: string(link.FlagBridge), Meaning: "makes the network ipvlan"},
		{Name: "mtu", Value: "BYTES", Meaning: "of the links; default is the parent's"},
		{Name: "scope", Words: words(ScopeGlobal, ScopeLocal), Default: string(ScopeGlobal), Meaning: "local is of this host only, also without a parent"},
		{Name: "gateway", Words: []string{"none"}, Meaning: "no gateway and no default route"},
		{Name: "routes", Value: "ROUTE,...", Words: words(HostRoutesOff), Meaning: "beside the gateway, as \"10.0.0.0/8 via 192.168.1.2\"; l3: no via, and hosts or off"},
		{Name: "ipv6-ra", Words: words(link.AdvertisedOn, link.AdvertisedOff), Meaning: "whether routers give containers addresses and routes; default as the kernel"},
		{Name: "mac-prefix", Value: "PREFIX", Words: []string{"02:42"}, Meaning: "what the MACs that follow from addresses begin with, one to three bytes; default 02"},
		{Name: "dns", Words: []string{"on", "off"}, Default: "on", Meaning: "whether names of this network are answered"},
		{Name: "host-access", Words: words(HostAccessOn, HostAccessOff), Meaning: "host and own containers reach each other; else as --host-access says"},
		{Name: keyMTU, Value: "BYTES", Meaning: "Docker's own way to say mtu="},
		{Name: keyIfPrefix, Value: "NAME", Meaning: "what interfaces inside containers are called before their number; default eth"},
	}
}

// IPAM describes the options of --ipam-opt.
func IPAM() []Described {
	return []Described{
		{Name: "segment", Value: "NAME", Words: []string{pool.DefaultSegment}, Meaning: "the layer-2 domain, default if none is named; an address exists once in it"},
		{Name: "overlap", Words: []string{"ok"}, Meaning: "allow a pool with the same base address and another length"},
		{Name: "exclude", Value: "ITEM,...", Meaning: "addresses, ranges a-b or prefixes of the subnets that are never given"},
		{Name: "order", Words: words(pool.Lowest, pool.Random, pool.Aged), Default: string(pool.Lowest), Meaning: "the free address that is given; aged: the longest free"},
		{Name: "cooldown", Value: "TIME", Meaning: "an address rests so long after a container, as 30s or 5m, while others are free"},
		{Name: "sticky", Value: "TIME", Meaning: "how long what a container had is kept for its return, as 24h; 0: not at all"},
		{Name: "probe", Words: []string{"on", "off"}, Default: "on", Meaning: "ask the LAN before an address is given, on macvlan and ipvlan l2"},
		{Name: "block", Value: "N", Words: []string{"26", "off"}, Meaning: "l3: each host has blocks of that length for itself while any is free; 26 from a /24 on"},
	}
}

// Changes describes what `network set` takes.
func Changes() []Described {
	return []Described{
		{Name: "parent", Value: "LIST", Meaning: "new containers hang from this list; running ones stay"},
		{Name: "exclude", Value: "ITEM,...", Meaning: "addresses, ranges a-b or prefixes never given, in place of those so far"},
		{Name: "exclude+", Value: "ITEM,...", Meaning: "these are never given either"},
		{Name: "exclude-", Value: "ITEM,...", Meaning: "these are given again"},
		{Name: "range+", Value: "CIDR", Meaning: "addresses are given from this part of a subnet too"},
		{Name: "range-", Value: "CIDR", Meaning: "and no more"},
		{Name: "cooldown", Value: "TIME", Meaning: "an address rests so long after a container, while others are free"},
		{Name: "host-access", Words: words(HostAccessOn, HostAccessOff), Meaning: "whether a host and its own containers reach each other"},
	}
}

func words[T ~string](all ...T) []string {
	var texts []string
	for _, w := range all {
		texts = append(texts, string(w))
	}
	return texts
}

// names are those of the table that are not Docker's own.
func names() []string {
	var own []string
	for _, o := range Network() {
		if !dockersOwn(o.Name) {
			own = append(own, o.Name)
		}
	}
	return own
}

// given is the option as it is typed.
func (o Described) given() string {
	if o.Value == "" && len(o.Words) == 1 {
		return o.Name + "=" + o.Words[0]
	}
	return o.Name + "=" + o.Value
}

// said is what the option means, after its values where those are all there are;
// each is between quotes.
func (o Described) said(quote string) string {
	if o.Value != "" || len(o.Words) < 2 {
		return o.Meaning
	}
	var all []string
	for _, w := range o.Words {
		text := quote + w + quote
		if w == o.Default {
			text += " (default)"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ") + ": " + o.Meaning
}

// Lines are a table for the help of a command, a line an option.
func Lines(table []Described) string {
	const column = 22 // of the meaning; a longer option has a line for itself
	var b strings.Builder
	for _, o := range table {
		given := "  " + o.given()
		if len(given) >= column {
			given += "\n" + strings.Repeat(" ", column)
		}
		fmt.Fprintf(&b, "%-*s%s\n", column, given, o.said(""))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Markdown is a table as the READMEs of driver and ipam have it; flag is how its options are given.
func Markdown(flag string, table []Described) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| `%s` | meaning |\n|---|---|\n", flag)
	for _, o := range table {
		fmt.Fprintf(&b, "| `%s` | %s |\n", o.given(), o.said("`"))
	}
	return b.String()
}
