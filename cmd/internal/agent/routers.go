package agent

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/netip"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/config"
	"gvlan/driver/bgp"
	"gvlan/driver/trouble"
)

// routers are those that are told where this host's containers are, if any are.
type routers struct {
	speaker *bgp.Speaker // nil with no --bgp-as
	log     *slog.Logger
}

// newRouters prepares them for a node that others reach by that address. Nobody is
// spoken with before run.
func newRouters(c config.BGP, node string, at netip.Addr, changed func(), log *slog.Logger) routers {
	if c.AS == 0 {
		return routers{}
	}
	return routers{log: log, speaker: bgp.New(bgp.Config{
		AS: c.AS, RouterID: routerID(node, at), Peers: c.Peers, Import: c.Import, Changed: changed, Now: time.Now, Log: log,
	})}
}

// routerID is what tells this speaker from others of its AS (RFC 6286): the address of
// the node, or for one that has none of IPv4 a number drawn from its name, the same
// after each start.
func routerID(node string, at netip.Addr) netip.Addr {
	if at = at.Unmap(); at.Is4() && !at.IsUnspecified() {
		return at
	}
	sum := sha256.Sum256([]byte(node))
	const unlike = 0x80 // never 0
	return netip.AddrFrom4([4]byte{sum[0] | unlike, sum[1], sum[2], sum[3]})
}

// run speaks with them until ctx ends, and logs what is wrong when it is new and when
// it is over.
func (r routers) run(ctx context.Context) error {
	if r.speaker == nil {
		return nil
	}
	heard := make(chan struct{})
	var findings trouble.Findings
	go func() {
		defer close(heard)
		for store.Sleep(ctx, conditionsEvery) {
			findings.Replace(r.speaker.Failing(), time.Now(), r.log, slog.LevelWarn)
		}
	}()
	err := r.speaker.Run(ctx)
	<-heard
	return err
}

// warnings are what is wrong with the sessions.
func (r routers) warnings() []string {
	if r.speaker == nil {
		return nil
	}
	return r.speaker.Failing()
}

// leaveLimit bounds how long the end of an agent waits for routers to be told.
const leaveLimit = 5 * time.Second

// leave has them drop this host's routes at once.
func (r routers) leave() {
	if r.speaker == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	if err := r.speaker.Leave(ctx); err != nil {
		r.log.Warn("routers were not told that this host stops: they may keep its routes for two minutes", "err", err)
	}
}
