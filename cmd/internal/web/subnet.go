package web

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/facts"
	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/pool"
	"gvlan/ipam/survey"
)

// subnetPage is what html/subnet.html shows.
type subnetPage struct {
	api.SubnetView
	Age    string       // of what it shows; "": it is so now
	Parts  []gridPart   // squares, where there are no Cells
	Cells  []gridCell   // blocks
	Legend []legendLine // states that there are, in words
	// Held are the addresses that are something to somebody, in order, but for More
	// of them.
	Held         []heldRow
	More         int
	Of           string // link to the network
	Whole        string // link to the whole subnet; "" where it is shown
	Before, Next *gridLink
}

// gridLink is a part of the subnet beside the one that is shown.
type gridLink struct {
	Prefix netip.Prefix
	Href   string
}

// gridPart is up to 256 addresses, in rows of 16.
type gridPart struct {
	ID     string
	Prefix netip.Prefix
	Href   string // the part by itself; "" where it is all that is shown
	Rows   []gridRow
}

// gridRow is up to 16 addresses. Its label is what tells the first of them from the
// others of the part.
type gridRow struct {
	ID, Label string
	Squares   []square
}

// square is an address. What there is to say of it is what a reader of the screen
// hears, and everybody reads who points at it or goes there by keyboard.
type square struct {
	ID, Class, Sign string
	Href            string
	Says            string
}

// gridCell is a block of addresses.
type gridCell struct {
	ID     string
	Prefix netip.Prefix
	Href   string
	Bars   []barPart
	Says   string
	Short  string // the same in few words, where there is a picture
}

// barPart is a part of a bar, which is 100 wide.
type barPart struct {
	Class    string
	X, Width float64
}

// legendLine is a state with how many addresses are in it.
type legendLine struct {
	look
	Count string
}

// heldRow is an address of the list below the picture.
type heldRow struct {
	api.LeaseView
	look
	ID   string
	Href string
	Name string // of the container, or what of its id there is
}

// measures of a grid.
const (
	rowSize  = 16
	partBits = 8 // that tell the addresses of a part apart
	partSize = 1 << partBits
	// squareBits tell those apart that are shown one by one (api.SubnetView).
	squareBits = 10
	// mostHeld is how many addresses are listed below the picture.
	mostHeld = 256
	// mostNames is how many names of one address are told.
	mostNames = 3
)

func subnet(v viewer, r *http.Request) (page, error) {
	query := r.URL.Query()
	of, err := prefixIn(query, "subnet")
	if err != nil {
		return page{}, err
	}
	at, err := prefixIn(query, "at")
	if err != nil {
		return page{}, err
	}
	route := api.Subnet(query.Get("network"), query.Get("node"), of, at)
	shown, err := ask[api.SubnetView](r.Context(), v.agent, route)
	if err != nil {
		return page{}, err
	}
	p := subnetPage{SubnetView: shown, Age: facts.Age(shown.AsOf, v.now)}
	p.link()
	var names map[netip.Addr][]string
	if len(shown.Addresses) > 0 {
		names = namesOf(r.Context(), v.agent, shown.Network)
	}
	p.squares(names, v.now)
	for _, b := range shown.Blocks {
		p.Cells = append(p.Cells, p.cell(b))
	}
	p.Legend = legend(shown)
	return page{Template: "subnet", Under: "/", Title: shown.Network + " " + shown.At.String(), JSON: route, Data: p}, nil
}

// legend counts the addresses that are shown by their states: those that there are,
// and always leased and free ones.
func legend(v api.SubnetView) (lines []legendLine) {
	free := math.Ldexp(1, v.At.Addr().BitLen()-v.At.Bits())
	for _, l := range looks() {
		n := float64(v.Counts[l.State])
		if l.State == survey.Free { // the last of them: what is left
			n = max(free, 0)
		}
		if n > 0 || l.State == survey.Leased || l.State == survey.Free {
			lines = append(lines, legendLine{l, facts.Many(n)})
		}
		free -= n
	}
	return lines
}

// prefixIn is a prefix that a link or somebody by hand wrote; the zero one for
// nothing.
func prefixIn(query url.Values, name string) (netip.Prefix, error) {
	text := query.Get(name)
	if text == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, api.Refuse(fmt.Errorf("%s=%q is no subnet: write it like 192.168.1.0/24 or fd00::/64", name, text))
	}
	return p, nil
}

// namesOf are the names that addresses of a network have in the DNS; none while
// they are not known.
func namesOf(ctx context.Context, agent Agent, network string) map[netip.Addr][]string {
	records, err := ask[[]api.NameView](ctx, agent, api.NamesRoute)
	if err != nil {
		return nil
	}
	names := map[netip.Addr][]string{}
	for _, record := range records {
		if !strings.EqualFold(record.Network, network) {
			continue
		}
		for _, addr := range record.Addresses {
			if len(names[addr]) < mostNames {
				names[addr] = append(names[addr], record.Name+"."+record.Network)
			}
		}
	}
	return names
}

// href is the link to a part of the subnet.
func (p *subnetPage) href(part netip.Prefix) string {
	query := url.Values{"network": {p.Network}, "subnet": {p.Subnet.String()}}
	if p.Node != "" {
		query.Set("node", p.Node)
	}
	if part != p.Subnet {
		query.Set("at", part.String())
	}
	return "/subnet?" + query.Encode()
}

// link fills in what leads to the network, to the whole of the subnet, and to what
// lies beside.
func (p *subnetPage) link() {
	of := url.Values{"name": {p.Network}}
	if p.Node != "" {
		of.Set("node", p.Node)
	}
	p.Of = "/network?" + of.Encode()
	if p.At == p.Subnet {
		return
	}
	p.Whole = p.href(p.Subnet)
	beside := func(addr netip.Addr) *gridLink {
		if part := netip.PrefixFrom(addr, p.At.Bits()).Masked(); addr.IsValid() && p.Subnet.Contains(addr) {
			return &gridLink{part, p.href(part)}
		}
		return nil
	}
	p.Before, p.Next = beside(p.At.Addr().Prev()), beside(pool.LastOf(p.At).Next())
}

// squares lays the addresses out.
func (p *subnetPage) squares(names map[netip.Addr][]string, now time.Time) {
	all := looksByState()
	for i, v := range p.Addresses {
		id := v.Address.String()
		if i%partSize == 0 {
			part := gridPart{ID: "p-" + id, Prefix: p.At}
			if len(p.Addresses) > partSize {
				part.Prefix = netip.PrefixFrom(v.Address, v.Address.BitLen()-partBits)
				part.Href = p.href(part.Prefix)
			}
			p.Parts = append(p.Parts, part)
		}
		part := &p.Parts[len(p.Parts)-1]
		if i%rowSize == 0 {
			part.Rows = append(part.Rows, gridRow{ID: "r-" + id, Label: lastGroup(v.Address)})
		}
		row := &part.Rows[len(part.Rows)-1]
		l := all[v.State]
		href := leaseAt(v.Address, v.Segment)
		row.Squares = append(row.Squares, square{ID: "a-" + id, Class: l.Class(), Sign: l.Sign, Href: href, Says: says(v, l, names[v.Address], now)})
		switch v.State {
		case survey.Free, survey.Unusable, survey.Excluded, survey.Outside:
			continue
		}
		if len(p.Held) == mostHeld {
			p.More++
			continue
		}
		p.Held = append(p.Held, heldRow{LeaseView: v, look: l, ID: "l-" + id, Href: href, Name: facts.Container(v)})
	}
}

// lastGroup is the end of an address, from its last dot or colon on.
func lastGroup(addr netip.Addr) string {
	bytes := addr.AsSlice()
	if addr.Is4() {
		return "." + strconv.Itoa(int(bytes[3]))
	}
	return fmt.Sprintf(":%x", int(bytes[14])<<8|int(bytes[15]))
}

// says is what there is to say of an address in one line.
func says(v api.LeaseView, l look, names []string, now time.Time) string {
	words := []string{v.Address.String(), l.Words}
	host := ""
	if v.Host != "" {
		host = "host " + v.Host
	}
	switch container := facts.Container(v); {
	case container != "" && v.State == survey.Reserved:
		words = append(words, "for container "+container)
	case container != "" && host != "":
		words = append(words, "container "+container+" on "+host)
	case container != "":
		words = append(words, "container "+container)
	case host != "":
		words = append(words, host)
	}
	switch v.State {
	case survey.Auxiliary, survey.HostsOwn, survey.Conflict: // what is not said of every such address
		if v.Why != "" {
			words = append(words, v.Why)
		}
	case survey.Free:
		if v.Why != "" { // in few words: there may be very many
			words = append(words, "given with --ip only")
		}
	}
	mac := v.MAC
	if r := v.Reservation; r != nil && mac == "" {
		mac = r.MAC
	}
	if mac != "" {
		words = append(words, "MAC "+mac)
	}
	if len(names) > 0 {
		words = append(words, "name "+strings.Join(names, " "))
	}
	if r := v.Reservation; r != nil && r.Note != "" {
		words = append(words, r.Note)
	}
	if since := terminal.Since(v.Since, now); since != "" {
		words = append(words, "since "+since)
	}
	return strings.Join(words, ", ")
}

// cell is a block with what there is in it.
func (p *subnetPage) cell(b api.BlockView) gridCell {
	c := gridCell{ID: "b-" + b.Prefix.String(), Prefix: b.Prefix, Href: p.href(b.Prefix)}
	x := 0.0
	var words []string
	other := 0
	for _, l := range looks() {
		n := b.Counts[l.State]
		if n == 0 {
			continue
		}
		if l.State != survey.Leased {
			other += n
		}
		words = append(words, strconv.Itoa(n)+" "+l.Words)
		// What there is can be seen, however little of the block it is.
		width := min(max(100*float64(n)/b.Size, 1), 100-x)
		c.Bars = append(c.Bars, barPart{l.Class(), x, width})
		x += width
	}
	switch held := b.Counts[survey.Leased]; {
	case held+other == 0:
		words, c.Short = []string{"all free"}, "free"
	case other == 0:
		c.Short = fmt.Sprintf("%d leased", held)
	default:
		c.Short = fmt.Sprintf("%d leased, %d other", held, other)
	}
	c.Says = strings.Join(words, ", ")
	return c
}
