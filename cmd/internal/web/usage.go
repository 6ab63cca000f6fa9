package web

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/facts"
)

// subnetRow is a subnet with how full it is.
type subnetRow struct {
	ID      string // of the element
	Prefix  string
	Link    string
	Made    string // what it was made with
	Counted bool   // how full it is, is known
	Parts   []usage
	Said    string // the parts in a sentence
	Size    string
	Full    bool
	FullIn  string // "": never, or too little is known
	Soon    bool   // it is full in less than soon
	Beside  int    // leases outside of the ranges
	Ranges  string
	Apart   string // exclude=
	ByHost  string
}

// usage is how many addresses of a subnet are in one way in use.
type usage struct {
	Kind, Count string
	From, Width string // of the bar, with their unit
}

// soon is what a person would be warned of: there is a week to widen a range.
const soon = 7 * 24 * time.Hour

// thinnest is what of a bar may be seen, in percent: less than that is drawn as that.
const thinnest = 0.4

// subnets are those of a network. A pool that is not counted is told with what it was
// made with.
func (b beside) subnets(n api.NetworkView, now time.Time) (rows []subnetRow) {
	card := "network-" + n.UUID
	for i, made := range n.Pools {
		row := subnetRow{ID: fmt.Sprintf("%s-%d", card, i), Prefix: made.Subnet.String(), Made: facts.Subnet(made)}
		query := url.Values{"network": {n.Name}, "subnet": {row.Prefix}}
		if isLocal(n) {
			query.Set("node", n.Origin)
		}
		row.Link = "/subnet?" + query.Encode()
		for _, p := range b.pools {
			if p.Network == n.Name && p.Segment == n.Segment && p.Subnet == made.Subnet && (p.Node == "" || p.Node == n.Origin) && (p.Node != "") == isLocal(n) {
				row.count(p, now)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// count adds how full it is.
func (row *subnetRow) count(p api.PoolView, now time.Time) {
	row.Counted, row.Size, row.FullIn = true, facts.Many(p.Size), facts.FullIn(p, now)
	row.Full = row.FullIn == "full"
	row.Soon = !p.FullAt.IsZero() && p.FullAt.Sub(now) < soon
	row.Beside, row.ByHost = p.Beside, facts.ByHost(p)
	row.Ranges, row.Apart = strings.Join(p.Ranges, ", "), strings.Join(p.Excluded, ", ")
	all := max(p.Size, p.Used+p.Resting+p.Reserved+p.Free, 1)
	from, said := 0.0, []string{}
	for _, part := range []struct {
		kind  string
		count float64
	}{{"used", p.Used}, {"resting", p.Resting}, {"reserved", p.Reserved}, {"free", p.Free}} {
		width := 100 * part.count / all
		if part.count > 0 {
			width = max(width, thinnest)
		}
		width = min(width, 100-from)
		row.Parts = append(row.Parts, usage{part.kind, facts.Many(part.count), percent(from), percent(width)})
		said = append(said, facts.Many(part.count)+" "+part.kind)
		from += width
	}
	row.Said = fmt.Sprintf("of %s addresses: %s", row.Size, strings.Join(said, ", "))
}

func percent(of float64) string { return fmt.Sprintf("%.2f%%", of) }
