package reserve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// Most is how many addresses one word reserves, or ends the reservation of: each
// has a record, and every host knows them all. What nobody is to have of a larger
// range is excluded.
const Most = 4096

// longestNote bounds what an operator says of an address.
const longestNote = 200

// Desk makes reservations and ends them.
type Desk struct {
	KV   store.KV
	Node string // this one
	Now  func() time.Time
}

// Wish is what an operator wants of a network's addresses.
type Wish struct {
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"` // First of a single one
	For   string     `json:"for,omitempty"`
	MAC   string     `json:"mac,omitempty"`
	Note  string     `json:"note,omitempty"`
}

// Words are the addresses, as they are typed.
func (w Wish) Words() string {
	if w.First == w.Last {
		return w.First.String()
	}
	return w.First.String() + "-" + w.Last.String()
}

// Held is an address that somebody has.
type Held struct {
	Address  netip.Addr `json:"address"`
	Node     string     `json:"node,omitempty"`
	Endpoint string     `json:"endpoint,omitempty"` // "": it is about to have one
}

// Outcome is what became of addresses.
type Outcome struct {
	Made    int    `json:"made"`             // reserved, that were not
	Changed int    `json:"changed"`          // whose MAC or note was another
	Same    int    `json:"same"`             // that were so already
	Ended   int    `json:"ended"`            // reserved no more
	Before  string `json:"before,omitempty"` // of the first that was changed, in words
	InUse   []Held `json:"inUse,omitempty"`  // stay so until they are released
	// Revision is that of the last transaction; 0: there was nothing to write.
	Revision store.Revision `json:"-"`
}

// ParseAddresses reads ADDRESS or ADDRESS-ADDRESS.
func ParseAddresses(text string) (first, last netip.Addr, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err1 := netip.ParseAddr(from)
	last, err2 := netip.ParseAddr(to)
	first, last = first.Unmap(), last.Unmap()
	switch {
	case err1 != nil || err2 != nil || first.Zone()+last.Zone() != "":
		return first, last, fmt.Errorf("%q is neither an address, as 192.168.1.50, nor a range, as 192.168.1.50-192.168.1.59", text)
	case first.BitLen() != last.BitLen() || last.Less(first):
		return first, last, fmt.Errorf("%q is no range: the first address comes first, and both are IPv4 or both IPv6", text)
	case addrset.Between(first, last).Size() > Most:
		return first, last, fmt.Errorf("%q has more than %d addresses: reserve fewer, or keep them out with exclude= (gvlan network set NAME exclude+=%s)", text, Most, text)
	}
	return first, last, nil
}

// each are the addresses.
func (w Wish) each() (all []netip.Addr) {
	for addr := w.First; ; addr = addr.Next() {
		all = append(all, addr)
		if addr == w.Last {
			return all
		}
	}
}

// containerName is what Docker takes for one.
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// Check refuses what is wrong whatever the network is. MACs are the caller's to
// check.
func (w Wish) Check() error {
	switch {
	case w.For != "" && !containerName.MatchString(w.For):
		return fmt.Errorf("--for %q is no container's name: letters, digits, _, . and -, of which the first is a letter or digit", w.For)
	case w.MAC != "" && w.First != w.Last:
		return fmt.Errorf("--mac %s goes with one address, and %s are several", w.MAC, w.Words())
	case len(w.Note) > longestNote || strings.ContainsFunc(w.Note, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("--note %q: give one line of at most %d bytes", w.Note, longestNote)
	}
	return nil
}

// perTransaction is how many addresses share one.
const perTransaction = 100

// ErrMeanwhile: somebody else wrote at the same moment.
var ErrMeanwhile = errors.New("somebody else changed it at the same moment: try again")

// Reserve reserves addresses of a network as its definition was read. What is
// reserved for another container, or with another network, refuses all of them;
// what is reserved as wished already stays, and another MAC or note takes the place
// of the one that was. An address that somebody has is reserved from its release
// on.
func (d *Desk) Reserve(ctx context.Context, def store.Row[store.Network], w Wish) (Outcome, error) {
	if err := w.Check(); err != nil {
		return Outcome{}, err
	}
	if err := d.allowed(ctx, def.Record, w); err != nil {
		return Outcome{}, err
	}
	there, err := d.reserved(ctx, def.Record.Created.Segment)
	if err != nil {
		return Outcome{}, err
	}
	var out Outcome
	steps, err := d.steps(def.Record, w, there, &out)
	if err != nil {
		return Outcome{}, err
	}
	if out.InUse, err = d.inUse(ctx, def.Record.Created.Segment, w); err != nil {
		return Outcome{}, err
	}
	done, revision, err := d.write(ctx, def, steps)
	if err != nil {
		return Outcome{}, partly(err, done, len(steps), "reserved")
	}
	out.Revision = revision
	return out, nil
}

// partly says how far a range came that is in more than one transaction.
func partly(err error, done, all int, what string) error {
	if done == 0 {
		return err
	}
	return fmt.Errorf("the first %d of %d addresses are %s, the others not (the same command goes on): %w", done, all, what, err)
}

// step is what a transaction does about one address.
type step struct {
	cond store.Cond
	op   store.Op
}

// steps are what there is to write.
func (d *Desk) steps(n store.Network, w Wish, there map[netip.Addr]Reservation, out *Outcome) (steps []step, err error) {
	for _, r := range there {
		if w.MAC != "" && r.MAC == w.MAC && r.At.Addr != w.First {
			return nil, fmt.Errorf("--mac %s goes with address %s, which is %s", w.MAC, r.At.Addr, r)
		}
	}
	for _, addr := range w.each() {
		had, is := there[addr]
		switch {
		case !is:
			out.Made++
		case had.Network != n.UUID || had.For != w.For:
			return nil, fmt.Errorf("address %s is %s: end that first (gvlan unreserve %s %s)", addr, had, had.Name, addr)
		case had.MAC == w.MAC && had.Note == w.Note:
			out.Same++
			continue
		default:
			if out.Changed++; out.Before == "" {
				out.Before = before(had)
			}
		}
		key, want := store.ReservationKey(n.Created.Segment, addr), had.Reservation
		want.Network, want.Name, want.For, want.MAC, want.Note, want.Node, want.Since = n.UUID, n.Name, w.For, w.MAC, w.Note, d.Node, d.Now().Unix()
		steps = append(steps, step{store.Unchanged(key, had.Modified), store.Put(key, store.Encode(want))})
	}
	return steps, nil
}

// before is what goes with a reservation, in words.
func before(r Reservation) string {
	mac, note := "no MAC address", "no note"
	if r.MAC != "" {
		mac = "MAC address " + r.MAC
	}
	if r.Note != "" {
		note = fmt.Sprintf("note %q", r.Note)
	}
	return mac + " and " + note
}

// write does the steps, as long as the definition is as it was read.
func (d *Desk) write(ctx context.Context, def store.Row[store.Network], steps []step) (done int, last store.Revision, err error) {
	for some := range slices.Chunk(steps, perTransaction) {
		txn := store.Txn{If: []store.Cond{store.Unchanged(def.Key, def.Modified)}}
		for _, one := range some {
			txn.If, txn.Then = append(txn.If, one.cond), append(txn.Then, one.op)
		}
		res, err := d.KV.Commit(ctx, txn)
		switch {
		case err != nil:
			return done, last, err
		case !res.Done:
			return done, last, ErrMeanwhile
		}
		done, last = done+len(some), res.Revision
	}
	return done, last, nil
}

// reserved are the reservations of a segment.
func (d *Desk) reserved(ctx context.Context, segment string) (map[netip.Addr]Reservation, error) {
	items, _, err := d.KV.List(ctx, store.SegmentReservationsSpan(segment))
	if err != nil {
		return nil, err
	}
	all := map[netip.Addr]Reservation{}
	for _, it := range items {
		if r, ok := Read(it); ok {
			all[r.At.Addr] = r
		}
	}
	return all, nil
}

// allowed refuses addresses that no container of the network can have, whoever
// asks.
func (d *Desk) allowed(ctx context.Context, n store.Network, w Wish) error {
	hosts, err := d.hosts(ctx)
	if err != nil {
		return err
	}
	options, err := pool.ParseOptions(n.Created.IPAMOptions)
	if err != nil {
		return err
	}
	exclude, err := options.Excluding(n.Overrides.Exclude)
	if err != nil {
		return err
	}
	excluded := &addrset.Set{}
	for _, run := range exclude {
		excluded.Add(run)
	}
	for _, addr := range w.each() {
		in := slices.IndexFunc(n.Created.Pools, func(p store.Pool) bool { return p.Subnet.Contains(addr) })
		if in < 0 {
			return fmt.Errorf("address %s lies in no subnet of network %s: those are %s", addr, n.Name, subnets(n))
		}
		what := role(n.Created.Pools[in], addr)
		switch host, own := hosts[addr]; {
		case what != "":
			return fmt.Errorf("address %s is the %s of network %s, which no container is given", addr, what, n.Name)
		case own:
			return fmt.Errorf("address %s is host %s's own, which no container is given", addr, host)
		case excluded.Has(addr):
			return fmt.Errorf("address %s is excluded from network %s, so no container is given it (gvlan network set %s exclude-=%s, where it was excluded by exclude+=)", addr, n.Name, n.Name, addr)
		}
	}
	return nil
}

func subnets(n store.Network) string {
	var all []string
	for _, p := range n.Created.Pools {
		all = append(all, p.Subnet.String())
	}
	return strings.Join(all, ", ")
}

// role is what an address is to a network that no container can have.
func role(p store.Pool, addr netip.Addr) string {
	if what := pool.UnusableIn(p.Subnet, addr); what != "" {
		return what
	}
	if p.Gateway == addr {
		return "gateway"
	}
	for _, name := range slices.Sorted(maps.Keys(p.Aux)) {
		if p.Aux[name] == addr {
			return "auxiliary address " + strings.TrimSpace(name)
		}
	}
	return ""
}

// hosts are the addresses of hosts' own interfaces.
func (d *Desk) hosts(ctx context.Context) (map[netip.Addr]string, error) {
	nodes, err := store.All[store.Node](ctx, d.KV, store.NodesSpan())
	if err != nil {
		return nil, err
	}
	all := map[netip.Addr]string{}
	for _, n := range nodes {
		maps.Copy(all, n.HostAddresses())
	}
	return all, nil
}

// inUse are those of the addresses that have a record already: it stays. One that
// another network of the segment keeps for itself refuses.
func (d *Desk) inUse(ctx context.Context, segment string, w Wish) (held []Held, err error) {
	span := store.Span{From: store.LeaseKey(segment, w.First), To: store.LeaseKey(segment, w.Last) + "\x00"}
	_, err = d.KV.Scan(ctx, span, store.Whole, func(page []store.Item) error {
		for _, it := range page {
			_, addr, err := store.LeaseOf(it.Key)
			if err != nil {
				continue // it rests
			}
			rec, err := store.Decode[store.Lease](it)
			if err == nil && rec.State == store.Reserved {
				return fmt.Errorf("address %s is kept by a network of segment %s for itself (gvlan whois %s)", addr, segment, addr)
			}
			held = append(held, Held{Address: addr, Node: rec.Node, Endpoint: rec.Endpoint})
		}
		return nil
	})
	return held, err
}

// Unreserve ends the reservations of addresses of a network. It fails where none
// of them is reserved, and ends none where one is reserved with another network.
func (d *Desk) Unreserve(ctx context.Context, def store.Row[store.Network], w Wish) (Outcome, error) {
	n := def.Record
	there, err := d.reserved(ctx, n.Created.Segment)
	if err != nil {
		return Outcome{}, err
	}
	var steps []step
	for _, addr := range w.each() {
		r, is := there[addr]
		if !is {
			continue
		}
		if r.Network != n.UUID && r.Network != "" {
			return Outcome{}, fmt.Errorf("address %s is %s: gvlan unreserve %s %s", addr, r, r.Name, addr)
		}
		steps = append(steps, ending(r))
	}
	if len(steps) == 0 {
		return Outcome{}, fmt.Errorf("%s is not reserved on network %s (gvlan lease ls --network %s lists what is)", w.Words(), n.Name, n.Name)
	}
	done, revision, err := d.write(ctx, def, steps)
	if err != nil {
		return Outcome{}, partly(err, done, len(steps), "reserved no more")
	}
	return Outcome{Ended: done, Revision: revision}, nil
}

// ending is the step that ends a reservation.
func ending(r Reservation) step {
	key := store.ReservationKey(r.At.Segment, r.At.Addr)
	return step{store.Unchanged(key, r.Modified), store.Delete(key)}
}

// EndAll ends the reservations of a definition that is about to go, as it was read.
func (d *Desk) EndAll(ctx context.Context, def store.Row[store.Network]) error {
	there, err := d.reserved(ctx, def.Record.Created.Segment)
	if err != nil {
		return err
	}
	var steps []step
	for _, r := range there {
		if r.Network == def.Record.UUID {
			steps = append(steps, ending(r))
		}
	}
	_, _, err = d.write(ctx, def, steps)
	return err
}
