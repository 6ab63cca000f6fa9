package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	updateBatch = 50              // records of one message
	updateRetry = 2 * time.Second // after the server did not take one
	updateFudge = 300             // seconds clocks may differ (RFC 8945 section 5.2.3)
)

// Sent remembers over restarts which records were pushed, so that those of
// containers that stopped meanwhile are taken back. *journal.Bucket is one.
type Sent interface {
	Put(key string, value []byte) error
	Delete(key string) error
	Each(func(key string, value []byte) error) error
}

// UpdateConfig is where an Updater pushes to.
type UpdateConfig struct {
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
	zone   *Zone
	config UpdateConfig
	sent   Sent
	log    *slog.Logger
}

// NewUpdater checks the configuration.
func NewUpdater(zone *Zone, c UpdateConfig, sent Sent, log *slog.Logger) (*Updater, error) {
	folded, err := foldDomain(c.Zone)
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
	return &Updater{zone: zone, config: c, sent: sent, log: log}, nil
}

// Run pushes every change until ctx ends, and then returns nil. What was
// pushed stays: the containers run on without the agent. A server that does
// not take an update is tried again until it does.
func (u *Updater) Run(ctx context.Context) error {
	for failing := false; ctx.Err() == nil; {
		changed, again := u.zone.Changed(), (<-chan time.Time)(nil)
		err := u.push(ctx)
		switch {
		case err != nil && !failing:
			u.log.Warn("dns server does not take updates; trying on", "server", u.config.Server, "zone", u.config.Zone, "error", err)
		case err == nil && failing:
			u.log.Info("dns server takes updates again", "server", u.config.Server)
		}
		if failing = err != nil; failing {
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
// containers of an agent that starts while the store is away run on.
func (u *Updater) push(ctx context.Context) error {
	if !u.zone.filled() {
		return nil
	}
	want := u.wanted()
	sent := make(map[string]bool) // by record: the server said it has it
	err := u.sent.Each(func(key string, value []byte) error {
		sent[key] = slices.Equal(value, pushed)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read pushed records: %w", err)
	}
	var steps []step
	for _, rr := range slices.Sorted(maps.Keys(want)) {
		if !sent[rr] {
			steps = append(steps, step{rr, true})
		}
	}
	for _, rr := range slices.Sorted(maps.Keys(sent)) {
		if !want[rr] {
			steps = append(steps, step{rr, false})
		}
	}
	for batch := range slices.Chunk(steps, updateBatch) {
		if err := u.apply(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// step adds or removes one record, written as in a zone file.
type step struct {
	record string
	add    bool
}

// wanted returns the records of this host's containers.
func (u *Updater) wanted() map[string]bool {
	want := make(map[string]bool)
	for _, r := range u.zone.Names(Everything()) {
		if r.Node != u.zone.node || r.Network == "" {
			continue
		}
		for _, addr := range r.Addresses {
			kind := "A"
			if addr.Is6() {
				kind = "AAAA"
			}
			want[fmt.Sprintf("%s.%s.%s %d IN %s %s", r.Name, r.Network, u.config.Zone, int(u.config.TTL/time.Second), kind, addr)] = true
		}
	}
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
	if err := u.send(ctx, steps); err != nil {
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

// send sends one update message, signed when there is a key.
func (u *Updater) send(ctx context.Context, steps []step) error {
	m := new(miekg.Msg).SetUpdate(u.config.Zone)
	for _, s := range steps {
		rr, err := miekg.NewRR(s.record)
		switch {
		case err != nil:
			return fmt.Errorf("write %q: %w", s.record, err)
		case s.add:
			m.Insert([]miekg.RR{rr})
		default:
			m.Remove([]miekg.RR{rr})
		}
	}
	client := &miekg.Client{Net: "tcp", Timeout: forwardBudget}
	if u.config.KeyName != "" {
		m.SetTsig(u.config.KeyName, u.config.Algorithm, updateFudge, time.Now().Unix())
		client.TsigSecret = map[string]string{u.config.KeyName: u.config.Secret}
	}
	r, _, err := client.ExchangeContext(ctx, m, u.config.Server.String())
	if err != nil {
		return err
	}
	if r.Rcode != miekg.RcodeSuccess {
		return fmt.Errorf("the server says %s", strings.ToLower(miekg.RcodeToString[r.Rcode]))
	}
	return nil
}
