package join

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
)

// routes are all that a door answers. running ends with the door.
func (d *Door) routes(running context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+joinRoute, d.answer(func(ctx context.Context, r *http.Request) (any, error) {
		return d.join(ctx, running, r)
	}))
	mux.HandleFunc("POST "+renewRoute, d.answer(d.known(d.renew)))
	mux.HandleFunc("POST "+custodyRoute, d.answer(d.known(d.custody)))
	mux.HandleFunc("POST "+memberRoute, d.answer(d.known(d.member)))
	mux.HandleFunc("GET "+membersRoute, d.answer(d.known(d.members)))
	mux.HandleFunc("POST "+lifeRoute, d.answer(d.life))
	return mux
}

// answer writes what a route returns, in time.
func (d *Door) answer(route func(context.Context, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		status, body := http.StatusOK, any(nil)
		if result, err := route(ctx, r); err == nil {
			body = result
		} else {
			status, body = refusalOf(err)
			level, about := slog.LevelInfo, []any{"from", r.RemoteAddr, "route", r.URL.Path, "err", err}
			switch {
			case errors.Is(err, ErrCertificate) || errors.Is(err, ErrBadRequest) || r.Context().Err() != nil:
				level = slog.LevelDebug // any stranger can have it said, as often as it likes
			case errors.Is(err, ErrWrongToken):
				if others, rare := d.wrong.met(d.now()); !rare {
					level = slog.LevelDebug
				} else if others > 0 {
					about = append(about, "wrong_before", others)
				}
			}
			d.log.Log(ctx, level, "door refused a host", about...)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // who asked may have gone
	}
}

// refusalOf is what is told of an error: which one, and of what is inside no
// more than who has a name.
func refusalOf(err error) (status int, said refusal) {
	status, said = http.StatusServiceUnavailable, refusal{Code: "unavailable"}
	for _, v := range verdicts {
		if errors.Is(err, v.err) {
			status, said = v.status, refusal{Code: v.code}
			break
		}
	}
	if taken, ok := errors.AsType[*NameTakenError](err); ok {
		said.Node, said.Host, said.Addr, said.Member = taken.Node, taken.Host, taken.Address, taken.Member
	}
	return status, said
}

// caller is a node that has shown a certificate which stands.
type caller struct {
	node   string
	record store.Certificate
	// still holds until the certificate is revoked or the node evicted.
	still []store.Cond
}

// known is a route for nodes whose certificate stands.
func (d *Door) known(route func(context.Context, *http.Request, caller) (any, error)) func(context.Context, *http.Request) (any, error) {
	return func(ctx context.Context, r *http.Request) (any, error) {
		who, err := d.caller(ctx, r)
		if err != nil {
			return nil, err
		}
		return route(ctx, r, who)
	}
}

// caller judges the certificate that came with a request: signed by one of the
// cluster's authorities and in its time, given by the cluster to that node, not
// revoked, and the node not evicted.
func (d *Door) caller(ctx context.Context, r *http.Request) (caller, error) {
	cert, err := d.signed(r)
	if err != nil {
		return caller{}, err
	}
	node, serial := cert.Subject.CommonName, authority.Serial(cert)
	key, epochKey := store.CertificateKey(node, serial), store.EpochKey(node)
	record, at, err := read[store.Certificate](ctx, d.kv, key)
	if err != nil {
		return caller{}, err
	}
	if at == 0 || record.Member || !isRecorded(record, cert) {
		return caller{}, fmt.Errorf("%w: it was not given to node %q as such", ErrCertificate, node)
	}
	epoch, epochAt, err := read[store.Epoch](ctx, d.kv, epochKey)
	if err != nil {
		return caller{}, err
	}
	if record.Revoked || epoch.Evicted {
		return caller{}, fmt.Errorf("node %q: %w", node, ErrRevoked)
	}
	return caller{node: node, record: record, still: []store.Cond{store.Unchanged(key, at), store.Unchanged(epochKey, epochAt)}}, nil
}

// signed is the certificate that came with a request: of one of the cluster's
// authorities, in its time, and not refused.
func (d *Door) signed(r *http.Request) (*x509.Certificate, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, fmt.Errorf("%w: it showed none", ErrCertificate)
	}
	cert := r.TLS.PeerCertificates[0]
	roots := x509.NewCertPool()
	for _, root := range d.id.RootCertificates() {
		roots.AddCert(root)
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: d.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if d.id.Refused(authority.Serial(cert)) {
		return nil, fmt.Errorf("node %q: %w", cert.Subject.CommonName, ErrRevoked)
	}
	return cert, nil
}

// join lets a host in that knows the secret. running is the door's context.
func (d *Door) join(ctx, running context.Context, r *http.Request) (any, error) {
	var asked joinRequest
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	right, err := d.checks.run(ctx, running, func() (bool, error) {
		record, _, err := read[store.JoinSecret](ctx, d.kv, store.JoinSecretKey())
		return record.Digest != "" && authority.Matches(asked.Secret, record.Digest), err
	})
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, ErrWrongToken
	}
	if err := asked.check(); err != nil {
		return nil, err
	}
	free, err := d.nameFree(ctx, asked.Applicant)
	if err != nil {
		return nil, err
	}
	given, err := d.give(ctx, asked.CSR, authority.Subject{Node: asked.Node}, free)
	if err != nil {
		return nil, err
	}
	if given.Members, err = Places(ctx, d.kv); err != nil {
		return nil, err
	}
	meta, _, err := read[store.Meta](ctx, d.kv, store.MetaKey())
	if err != nil {
		return nil, err
	}
	given.Cluster = meta.UUID
	d.log.Info("host joined", "node", asked.Node, "host", asked.Host, "from", r.RemoteAddr)
	return given, nil
}

// nameFree refuses a node name that another host has: one that is connected, or
// one with a place in the store, whose name is worth the authority. The
// conditions hold as long as that is so.
func (d *Door) nameFree(ctx context.Context, who Applicant) ([]store.Cond, error) {
	liveKey, memberKey := store.LiveKey(who.Node), store.MemberKey(who.Node)
	live, liveAt, err := read[store.Live](ctx, d.kv, liveKey)
	if err != nil {
		return nil, err
	}
	if liveAt != 0 && (who.Install == "" || live.Install != who.Install) {
		return nil, &NameTakenError{Node: who.Node, Host: live.Host, Address: live.Address}
	}
	_, memberAt, err := read[store.Member](ctx, d.kv, memberKey)
	if err != nil {
		return nil, err
	}
	if memberAt != 0 {
		epoch, _, err := read[store.Epoch](ctx, d.kv, store.EpochKey(who.Node))
		if err != nil {
			return nil, err
		}
		if who.Install == "" || epoch.Install != who.Install {
			return nil, &NameTakenError{Node: who.Node, Member: true}
		}
	}
	return []store.Cond{store.Unchanged(liveKey, liveAt), store.Unchanged(memberKey, memberAt)}, nil
}

// renew gives a node its next certificate.
func (d *Door) renew(ctx context.Context, r *http.Request, who caller) (any, error) {
	var asked certificateRequest
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	return d.give(ctx, asked.CSR, authority.Subject{Node: who.node}, who.still)
}

// custody hands the authority over, to a host with a place in the store.
func (d *Door) custody(ctx context.Context, _ *http.Request, who caller) (any, error) {
	if _, _, err := d.place(ctx, who.node); err != nil {
		return nil, err
	}
	custody, found, err := d.id.Custody()
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrBehind
	}
	if ok, err := inStep(ctx, d.kv, custody); err != nil || !ok {
		return nil, errors.Join(err, ErrBehind)
	}
	raw, err := authority.MarshalCustody(custody)
	if err != nil {
		return nil, err
	}
	if err := d.noteKeeper(ctx, who); err != nil {
		return nil, err
	}
	d.log.Info("custody handed over", "node", who.node)
	return json.RawMessage(raw), nil
}

// noteKeeper records that a node is handed the authority, before it is: an
// eviction finds that.
func (d *Door) noteKeeper(ctx context.Context, who caller) error {
	if who.record.Custody {
		return nil
	}
	who.record.Custody = true
	res, err := d.kv.Commit(ctx, store.Txn{
		If:   who.still,
		Then: []store.Op{store.Put(store.CertificateKey(who.node, who.record.Serial), store.Encode(who.record))},
	})
	if err == nil && !res.Done {
		err = ErrChanged
	}
	if err != nil {
		return fmt.Errorf("record that node %s is handed the authority: %w", who.node, err)
	}
	return nil
}

// member gives a host with a place in the store the certificate to serve with,
// for the addresses that the store has of it.
func (d *Door) member(ctx context.Context, r *http.Request, who caller) (any, error) {
	var asked certificateRequest
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	place, at, err := d.place(ctx, who.node)
	if err != nil {
		return nil, err
	}
	subject := authority.Subject{Node: who.node, Member: true}
	for _, address := range []string{place.Client, place.Peer, place.Door} {
		host, _, err := net.SplitHostPort(address)
		if err != nil || host == "" {
			continue // a steward that knows less of it
		}
		if ip, err := netip.ParseAddr(host); err != nil {
			subject.Names = append(subject.Names, host)
		} else {
			subject.Addresses = append(subject.Addresses, ip)
		}
	}
	slices.Sort(subject.Names)
	slices.SortFunc(subject.Addresses, netip.Addr.Compare)
	subject.Names, subject.Addresses = slices.Compact(subject.Names), slices.Compact(subject.Addresses)
	return d.give(ctx, asked.CSR, subject, append(who.still, store.Unchanged(store.MemberKey(who.node), at)))
}

// members says where the members are reached.
func (d *Door) members(ctx context.Context, _ *http.Request, _ caller) (any, error) {
	return Places(ctx, d.kv)
}

// life says which life the store is in. A certificate is enough that a store of an
// older life gave: a host asks that was away when the new one began, and the copy
// that began it may not know of the certificate.
func (d *Door) life(_ context.Context, r *http.Request) (any, error) {
	if _, err := d.signed(r); err != nil {
		return nil, err
	}
	var asked lifeRequest
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	if d.Standing == nil {
		return nil, store.ErrUnavailable
	}
	return d.Standing(asked.Life, asked.Door), nil
}

// place is a node's place in the store, or ErrNotMember.
func (d *Door) place(ctx context.Context, node string) (store.Member, store.Revision, error) {
	place, at, err := read[store.Member](ctx, d.kv, store.MemberKey(node))
	if err == nil && at == 0 {
		err = fmt.Errorf("node %q: %w", node, ErrNotMember)
	}
	return place, at, err
}

// give issues a certificate and has the roots go with it.
func (d *Door) give(ctx context.Context, csr []byte, subject authority.Subject, while []store.Cond) (Answer, error) {
	roots, err := Roots(ctx, d.kv)
	if err != nil {
		return Answer{}, err
	}
	cert, err := d.custodian.Issue(ctx, csr, subject, while...)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Certificate: cert.Raw, Roots: roots}, nil
}

// decode reads a request. What is wrong with it is not repeated: it may have
// the secret in it.
func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return ErrBadRequest
	}
	return nil
}
