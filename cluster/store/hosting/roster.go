package hosting

import (
	"context"
	"errors"
	"fmt"

	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/members"
)

// roster shows the membership of etcd as the steward wants it.
type roster struct {
	etcd *etcd.Membership
	own  string // where this host's member serves clients; "" where none is
}

// Members implements members.Roster.
func (r roster) Members(ctx context.Context) (all []members.MemberInfo, err error) {
	listed, err := r.etcd.Members(ctx)
	for _, m := range listed {
		all = append(all, members.MemberInfo{ID: m.ID, Name: m.Name, Peer: m.Peer, Client: m.Client, Learner: m.Learner, Started: m.Started})
	}
	return all, err
}

// Status implements members.Roster.
func (r roster) Status(ctx context.Context, client string) (members.MemberStatus, error) {
	s, err := r.etcd.Status(ctx, client)
	return members.MemberStatus{
		ID: s.ID, Leader: s.Leader, Learner: s.Learner, DBSize: s.DBSize, DBInUse: s.DBInUse,
		Applied: s.Applied, Index: s.Index, Revision: s.Revision, Version: s.Version, Alarms: s.Alarms,
	}, err
}

// AddLearner implements members.Membership.
func (r roster) AddLearner(ctx context.Context, peer string) (uint64, error) {
	return r.etcd.AddLearner(ctx, peerURL(peer))
}

// Promote implements members.Membership.
func (r roster) Promote(ctx context.Context, id uint64) error {
	err := r.etcd.Promote(ctx, id)
	if errors.Is(err, etcd.ErrNotInStep) {
		err = fmt.Errorf("%w: %w", members.ErrNotInStep, err)
	}
	return err
}

// Remove implements members.Membership.
func (r roster) Remove(ctx context.Context, id uint64) error { return r.etcd.Remove(ctx, id) }

// MoveLeader implements members.Membership: only the leader can, and the steward
// that asks runs beside it.
func (r roster) MoveLeader(ctx context.Context, to uint64) error {
	return r.etcd.MoveLeader(ctx, to, r.own)
}

// settle has the others find a member at that URL.
func (r roster) settle(ctx context.Context, id uint64, url string) error {
	listed, err := r.etcd.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range listed {
		if m.ID == id && m.PeerURL != url {
			return r.etcd.Update(ctx, id, url)
		}
	}
	return nil
}

func peerURL(peer string) string { return "https://" + peer }
