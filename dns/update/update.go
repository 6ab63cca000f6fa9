package update

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/dns/zone"
)

const (
	updateBatch  = 50              // records of one message
	updateBudget = 3 * time.Second // for one message
	updateRetry  = 2 * time.Second // after the server did not take one
	updateFudge  = 300             // seconds clocks may differ (RFC 8945 section 5.2.3)
	updateRest   = 30              // retries that a record the server refused by itself sits out: a minute
)

// Sent remembers over restarts which records were pushed, so that those of
// containers that stopped meanwhile are taken back. *disk.Bucket of the journal is one.
type Sent interface {
	Put(key string, value []byte) error
	Delete(key string) error
	Each(func(key string, value []byte) error) error
}

// Config is where an Updater pushes to.
type Config struct {
	Server    netip.AddrPort // primary of the zone
	Zone      string         // on that server, such as containers.example.org
	KeyName   string         // of the TSIG key; "": unsigned
	Secret    string         // base64
	Algorithm string         // default hmac-sha256
	TTL       time.Duration  // default 60 s
}

// Updater keeps a zone of another DNS server told of this host's
// containers, by dynamic updates (RFC 2136): each host adds and removes the
// addresses of its own containers only, one record at a time, so that hosts
// share names without knowing of each other.
type Updater struct {
	zone   *zone.Zone
	config Config
	sent   Sent
	log    *slog.Logger

	mu   sync.Mutex      // one push at a time; guards the rest
	said map[string]bool // records that cannot be written, and were logged
	rest map[string]int  // by record the server refused by itself: pushes to sit out
}

// New checks the configuration.
func New(names *zone.Zone, c Config, sent Sent, log *slog.Logger) (*Updater, error) {
	folded, err := zone.FoldDomain(c.Zone)
	if err != nil {
		return nil, err
	}
	c.Zone = folded + "."
	if !c.Server.IsValid() {
		return nil, fmt.Errorf("dns update server is missing: want an address and a port, such as 192.168.1.1:53")
	}
	if (c.KeyName == "") != (c.Secret == "") {
		return nil, fmt.Errorf("dns update key %q: a key has a name and a secret, or there is none", c.KeyName)
	}
	if c.KeyName != "" {
		c.KeyName = miekg.CanonicalName(c.KeyName)
	}
	if c.Algorithm == "" {
		c.Algorithm = miekg.HmacSHA256
	}
	c.Algorithm = miekg.CanonicalName(c.Algorithm)
	if c.TTL == 0 {
		c.TTL = time.Minute
	}
	return &Updater{zone: names, config: c, sent: sent, log: log}, nil
}

// Run pushes every change until ctx ends, and then returns nil. What was
// pushed stays: the containers run on without the agent. A server that does
// not take an update is tried again until it does.
func (u *Updater) Run(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		changed := u.zone.Changed()
		var again <-chan time.Time // nil, which never fires, while the server takes updates
		err := u.push(ctx)
		switch {
		case err != nil && !failing:
			u.log.Warn("names at the dns server are out of date: all is tried again every 2 s, but what the server refuses by itself every minute", "server", u.config.Server, "zone", u.config.Zone, "err", err)
		case err == nil && failing:
			u.log.Info("names at the dns server are up to date again", "server", u.config.Server)
		}
		failing = err != nil
		if failing {
			changed, again = nil, time.After(updateRetry)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-again:
		}
	}
	return nil
}

// The values of Sent: whether the server is known to have the record.
var (
	pushing = []byte{0}
	pushed  = []byte{1}
)

// push brings the server from what was sent to what is wanted. It leaves
// the server alone while nothing is wanted only because nothing is known: the
// containers of an agent that starts while the store is away run on. A batch
// that fails keeps none of the others back.
func (u *Updater) push(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.zone.Filled() {
		return nil
	}
	steps, err := u.steps()
	if err != nil {
		return err
	}
	steps, err = u.due(steps)
	errs := []error{err}
	for batch := range slices.Chunk(steps, updateBatch) {
		errs = append(errs, u.apply(ctx, batch), ctx.Err())
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// steps returns what is between what was sent and what is wanted.
func (u *Updater) steps() ([]step, error) {
	want := u.wanted()
	sent := make(map[string]bool) // by record: the server said it has it
	err := u.sent.Each(func(key string, value []byte) error {
		sent[key] = slices.Equal(value, pushed)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read pushed records: %w", err)
	}
	var steps []step
	for _, record := range slices.Sorted(maps.Keys(want)) {
		if !sent[record] {
			steps = append(steps, step{record, want[record], true})
		}
	}
	for _, record := range slices.Sorted(maps.Keys(sent)) {
		if want[record] != nil {
			continue
		}
		rr, err := miekg.NewRR(record)
		if err == nil && rr != nil {
			steps = append(steps, step{record, rr, false})
			continue
		}
		// No message can have carried it to the server.
		if err := u.sent.Delete(record); err != nil {
			return nil, fmt.Errorf("forget %q, which cannot be pushed: %w", record, err)
		}
	}
	return steps, nil
}

// due returns the steps whose record does not sit out, and an error when
// there are others, so that they are tried again in their time.
func (u *Updater) due(steps []step) ([]step, error) {
	due, rest := []step(nil), make(map[string]int)
	for _, s := range steps {
		if n := u.rest[s.record]; n > 0 {
			rest[s.record] = n - 1
			continue
		}
		due = append(due, s)
	}
	u.rest = rest
	if len(rest) > 0 {
		return due, fmt.Errorf("%d records that the server refused wait for another try", len(rest))
	}
	return due, nil
}

// step adds or removes one record, written as in a zone file.
type step struct {
	record string
	rr     miekg.RR
	add    bool
}

// wanted returns the records of this host's containers that a message can
// carry: a name that is long enough in Docker is too long for the DNS below
// its network and the zone. Names are folded, since servers refuse addresses
// at names with "_", and one that begins with it is left out.
func (u *Updater) wanted() map[string]miekg.RR {
	want, said := make(map[string]miekg.RR), make(map[string]bool)
	for _, r := range u.zone.Names(zone.Everything()) {
		if r.Node != u.zone.Node() || r.Network == "" {
			continue
		}
		name, ok := zone.FoldName(r.Name)
		if !ok || strings.HasPrefix(name, "_") || strings.Contains(name, "._") {
			continue
		}
		for _, addr := range r.Addresses {
			kind := "A"
			if addr.Is6() {
				kind = "AAAA"
			}
			record := fmt.Sprintf("%s.%s.%s %d IN %s %s", name, r.Network, u.config.Zone, int(u.config.TTL/time.Second), kind, addr)
			rr, err := miekg.NewRR(record)
			if err == nil {
				want[record] = rr
				continue
			}
			said[record] = true
			if !u.said[record] {
				u.log.Warn("name is longer than a record can hold: not sent to the dns server", "record", record, "err", err)
			}
		}
	}
	u.said = said
	return want
}

// apply makes one batch of steps on the server. A record is remembered
// before it is sent, so that a crash in between leaves nothing there for
// ever.
func (u *Updater) apply(ctx context.Context, steps []step) error {
	var errs []error
	for _, s := range steps {
		if s.add {
			errs = append(errs, u.sent.Put(s.record, pushing))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remember records to push: %w", err)
	}
	err := u.send(ctx, steps)
	var code refusal
	if errors.As(err, &code) && code.ofRecords() && len(steps) > 1 {
		return u.applyEach(ctx, steps)
	}
	if err != nil {
		return fmt.Errorf("update %s at %s: %w", u.config.Zone, u.config.Server, err)
	}
	for _, s := range steps {
		if s.add {
			errs = append(errs, u.sent.Put(s.record, pushed))
		} else {
			errs = append(errs, u.sent.Delete(s.record))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remember pushed records: %w", err)
	}
	return nil
}

// applyEach makes the steps of a refused batch one by one, so that what the
// server refuses for good does not keep back what it takes. What is refused
// once more sits out: a server that refuses all is not to be asked for each
// record every two seconds.
func (u *Updater) applyEach(ctx context.Context, steps []step) error {
	var errs []error
	for _, s := range steps {
		err := u.apply(ctx, []step{s})
		if err == nil {
			continue
		}
		errs = append(errs, fmt.Errorf("%q: %w", s.record, err))
		var code refusal
		if !errors.As(err, &code) {
			break
		}
		u.rest[s.record] = updateRest
	}
	return errors.Join(errs...)
}

// refusal is the code by which a server does not take an update.
type refusal int

func (r refusal) Error() string {
	return "the server says " + strings.ToLower(miekg.RcodeToString[int(r)])
}

// ofRecords reports whether the code may speak of one of several records. The
// others speak of the server or of who asks.
func (r refusal) ofRecords() bool {
	return r != miekg.RcodeServerFailure && r != miekg.RcodeNotAuth && r != miekg.RcodeNotImplemented
}

// send sends one update message, signed when there is a key.
func (u *Updater) send(ctx context.Context, steps []step) error {
	m := new(miekg.Msg).SetUpdate(u.config.Zone)
	for _, s := range steps {
		if s.add {
			m.Insert([]miekg.RR{s.rr})
		} else {
			m.Remove([]miekg.RR{s.rr})
		}
	}
	client := &miekg.Client{Net: "tcp", Timeout: updateBudget}
	if u.config.KeyName != "" {
		m.SetTsig(u.config.KeyName, u.config.Algorithm, updateFudge, time.Now().Unix())
		client.TsigSecret = map[string]string{u.config.KeyName: u.config.Secret}
	}
	r, _, err := client.ExchangeContext(ctx, m, u.config.Server.String())
	if err != nil {
		return err
	}
	if r.Rcode != miekg.RcodeSuccess {
		return refusal(r.Rcode)
	}
	return nil
}
