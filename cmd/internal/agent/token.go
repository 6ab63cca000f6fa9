package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// joinAnswer bounds the look at whom --join names: half of what a status has.
const joinAnswer = time.Second

// checkJoin tells a token that is another cluster's from a host that is away:
// the etcd client says the same of both, and tries again for ever. Only a
// certificate of another authority proves anything.
func checkJoin(ctx context.Context, address string, client *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, joinAnswer)
	defer cancel()
	conn, err := (&tls.Dialer{Config: client}).DialContext(ctx, "tcp", address)
	if err == nil {
		return conn.Close()
	}
	if _, foreign := errors.AsType[x509.UnknownAuthorityError](err); foreign {
		return fmt.Errorf("--token is not the one %s printed: copy it from the line `gvlan agent --join %s --token ...` in that agent's log", address, address)
	}
	return nil
}

// refuseForeignToken stops an agent that never joined anything yet. One that
// did looks after its containers whatever became of the host it joined, and
// `gvlan status` says what is wrong.
func (p *parts) refuseForeignToken(ctx context.Context) error {
	joined, err := p.past().LoadPast()
	if err != nil || joined.Cluster != "" {
		return err
	}
	return p.truth.checkJoin(ctx)
}
