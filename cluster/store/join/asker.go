package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
)

// How long an asker waits for a door at most, whatever its context says.
const (
	dialTimeout = 5 * time.Second
	askTimeout  = 25 * time.Second // more than a door takes to answer
)

// Asker asks at doors, for this host. Each call is one connection and ends with
// its context, or before. Addresses are host:port of a door (DoorOf). What goes
// wrong says the address that was tried. Safe for concurrent use.
type Asker struct {
	id  *authority.Identity
	now func() time.Time
}

// NewAsker makes an asker for the host with that identity.
func NewAsker(id *authority.Identity, now func() time.Time) *Asker {
	return &Asker{id: id, now: now}
}

// Join asks to be let in, with a token. Nothing of the identity changes but
// that it has a key: the caller has it Accept the answer. ErrUnreachable,
// ErrWrongToken, ErrNameTaken (*NameTakenError), ErrBadRequest, ErrBehind,
// ErrChanged or store.ErrUnavailable; after the last two, and where the answer
// got lost, it may be asked again.
func (a *Asker) Join(ctx context.Context, door string, token authority.Token, who Applicant) (answer Answer, err error) {
	csr, err := a.id.Request(false)
	if err != nil {
		return answer, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: authority.ServerName,
		Time:       a.now,
		// Of the cluster no more is known than the token says; VerifyConnection
		// holds the server against that.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := token.Verify(state.PeerCertificates, a.now())
			return err
		},
	}
	err = ask(ctx, config, http.MethodPost, door, joinRoute, joinRequest{Secret: token.Secret, Applicant: who, CSR: csr}, &answer)
	return answer, err
}

// Renew gets this host's node certificate renewed, and accepts it. Settle says
// so in the store. ErrUnreachable, ErrNotTrusted, ErrCertificate, ErrRevoked,
// ErrBehind, ErrChanged or store.ErrUnavailable.
func (a *Asker) Renew(ctx context.Context, door string) error {
	csr, err := a.id.Request(false)
	if err != nil {
		return err
	}
	var answer Answer
	if err := a.ask(ctx, http.MethodPost, door, renewRoute, certificateRequest{CSR: csr}, &answer); err != nil {
		return err
	}
	return a.id.Accept(answer.Certificate, answer.Roots)
}

// Custody gets the cluster's authority and secret, for a host with a place in
// the store: Custodian.Take keeps it. ErrNotMember besides what Renew says.
func (a *Asker) Custody(ctx context.Context, door string) (authority.Custody, error) {
	var raw json.RawMessage
	if err := a.ask(ctx, http.MethodPost, door, custodyRoute, struct{}{}, &raw); err != nil {
		return authority.Custody{}, err
	}
	return authority.UnmarshalCustody(raw)
}

// MemberCertificate gets the certificate that this host serves the store with,
// and accepts it. ErrNotMember besides what Renew says.
func (a *Asker) MemberCertificate(ctx context.Context, door string) error {
	csr, err := a.id.Request(true)
	if err != nil {
		return err
	}
	var answer Answer
	if err := a.ask(ctx, http.MethodPost, door, memberRoute, certificateRequest{CSR: csr}, &answer); err != nil {
		return err
	}
	if err := a.id.SetRoots(answer.Roots); err != nil {
		return err
	}
	return a.id.AcceptMember(answer.Certificate)
}

// Members asks where the members of the store are reached. Errors as of Renew.
func (a *Asker) Members(ctx context.Context, door string) (places []Place, err error) {
	err = a.ask(ctx, http.MethodGet, door, membersRoute, nil, &places)
	return places, err
}

// Life asks which life the store of a door's host is in, and says which one this
// host's own copy is in and the door to hear that from a member; "" when it runs
// none. Errors as of Renew.
func (a *Asker) Life(ctx context.Context, door string, own store.Life, ownDoor string) (standing Standing, err error) {
	err = a.ask(ctx, http.MethodPost, door, lifeRoute, lifeRequest{Life: own, Door: ownDoor}, &standing)
	return standing, err
}

// ask asks as the node that this host is.
func (a *Asker) ask(ctx context.Context, method, door, route string, body, answer any) error {
	if a.id.Certificate() == nil {
		return fmt.Errorf("ask at %s: %w: there is none", door, ErrCertificate)
	}
	return ask(ctx, a.id.Client(), method, door, route, body, answer)
}

// ask sends one request to one door.
func ask(ctx context.Context, config *tls.Config, method, door, route string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	transport := &http.Transport{ // no proxy: the environment's is for the web
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    dialTimeout,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 8 << 10,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("ask at %s: %w", door, err)
		}
		sent = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+door+route, sent)
	if err != nil {
		return fmt.Errorf("ask at %q: %w", door, ErrUnreachable)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask at %s: %w", door, whyNot(err))
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask at %s: %w", door, whyNot(err))
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask at %s: %w", door, refused(resp.StatusCode, raw))
	}
	if json.Unmarshal(raw, answer) != nil { // its words may tell of what was answered
		return fmt.Errorf("ask at %s: %w: its answer is not a door's", door, ErrUnreachable)
	}
	return nil
}

// whyNot says what kept a request from being answered.
func whyNot(err error) error {
	var (
		untrusted *tls.CertificateVerificationError
		unknown   x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		misnamed  x509.HostnameError
	)
	switch {
	case errors.Is(err, authority.ErrOtherAuthority):
		return fmt.Errorf("%w: %w", ErrWrongToken, err)
	case errors.As(err, &untrusted), errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &misnamed):
		return fmt.Errorf("%w: %w", ErrNotTrusted, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// refused is what a door's refusal says.
func refused(status int, raw []byte) error {
	var said refusal
	if json.Unmarshal(raw, &said) == nil {
		if said.Code == "name-taken" {
			return &NameTakenError{Node: said.Node, Host: said.Host, Address: said.Addr, Member: said.Member}
		}
		for _, v := range verdicts {
			if v.code == said.Code {
				return v.err
			}
		}
	}
	return fmt.Errorf("%w: HTTP status %d is not a door's", ErrUnreachable, status)
}
