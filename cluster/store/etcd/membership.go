package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What etcd may say to a change of its membership, beside store.ErrUnavailable.
var (
	// ErrNotInStep is a learner that has not read enough yet to be a voter.
	ErrNotInStep = errors.New("the learner is not in step with the leader yet")
	// ErrNoMember is a member that the cluster does not have.
	ErrNoMember = errors.New("the cluster has no such member")
	// ErrKnown is a member that the cluster has already.
	ErrKnown = errors.New("the cluster has a member at that address")
	// ErrAtRisk is a change that would cost the quorum, or could: a member is
	// away, or too few have started.
	ErrAtRisk = errors.New("etcd does not change its members while its quorum is at risk")
	// ErrNotLeader is a request for the leader that came to another member, or
	// one to hand over to a member that cannot lead.
	ErrNotLeader = errors.New("the member is not the leader, or the other cannot be")
)

// changeLimit is how long a change of the membership may take: it is written
// like a key, but the member waits until it has taken effect.
const changeLimit = 10 * time.Second

// Membership is who serves an etcd cluster, through a client of it. The
// client must be allowed to change it, which every client of an embedded
// cluster is.
type Membership struct{ client *Client }

// NewMembership returns the membership of the cluster that a client is of.
func NewMembership(c *Client) *Membership { return &Membership{client: c} }

// MemberInfo is one member of a cluster, as the cluster has it.
type MemberInfo struct {
	ID           uint64
	Name         string // "" before it started for the first time
	PeerURL      string
	Peer, Client string // "host:port"; Client is "" before it started, and for one without a port
	Learner      bool
	Started      bool // once
}

// Members lists the members, as a majority has them.
func (m *Membership) Members(ctx context.Context) ([]MemberInfo, error) {
	var resp *clientv3.MemberListResponse
	err := m.client.read(ctx, func(ctx context.Context, client *clientv3.Client) (err error) {
		resp, err = client.MemberList(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the members of etcd: %w", err)
	}
	all := make([]MemberInfo, len(resp.Members))
	for i, member := range resp.Members {
		all[i] = MemberInfo{
			ID: member.ID, Name: member.Name, Learner: member.IsLearner, Started: member.Name != "",
			Client: hostPort(member.ClientURLs), Peer: hostPort(member.PeerURLs),
		}
		if len(member.PeerURLs) > 0 {
			all[i].PeerURL = member.PeerURLs[0]
		}
	}
	return all, nil
}

// hostPort is the first address of a network among URLs.
func hostPort(urls []string) string {
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			return u.Host
		}
	}
	return ""
}

// AddLearner adds a member that is yet to start, as a learner. When the
// answer is lost, Members tells whether it was added.
func (m *Membership) AddLearner(ctx context.Context, peerURL string) (id uint64, err error) {
	err = m.change(ctx, func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.MemberAddAsLearner(ctx, []string{peerURL})
		if err == nil {
			id = resp.Member.ID
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("add %s to etcd: %w", peerURL, err)
	}
	return id, nil
}

// Promote makes a learner a voter; a voter stays one. ErrNotInStep is for a
// learner that needs more time.
func (m *Membership) Promote(ctx context.Context, id uint64) error {
	err := m.change(ctx, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberPromote(ctx, id)
		if errors.Is(err, rpctypes.ErrMemberNotLearner) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("make etcd member %x a voter: %w", id, err)
	}
	return nil
}

// Remove removes a member, which then ends. One that is not there is removed.
func (m *Membership) Remove(ctx context.Context, id uint64) error {
	err := m.change(ctx, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberRemove(ctx, id)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove etcd member %x: %w", id, err)
	}
	return nil
}

// Update tells the others where a member is now.
func (m *Membership) Update(ctx context.Context, id uint64, peerURL string) error {
	err := m.change(ctx, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberUpdate(ctx, id, []string{peerURL})
		return err
	})
	if err != nil {
		return fmt.Errorf("move etcd member %x to %s: %w", id, peerURL, err)
	}
	return nil
}

// MoveLeader has the leader, which is at an endpoint, hand over to a voter.
func (m *Membership) MoveLeader(ctx context.Context, to uint64, leader string) error {
	err := m.at(ctx, leader, func(ctx context.Context, remote pb.MaintenanceClient) error {
		_, err := remote.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: to})
		return err
	})
	if err != nil {
		return fmt.Errorf("make etcd member %x the leader: %w", to, err)
	}
	return nil
}

// MemberStatus is what one member says of itself.
type MemberStatus struct {
	ID, Leader      uint64 // Leader is 0 while it knows none
	Learner         bool
	DBSize, DBInUse int64  // bytes
	DBQuota         int64  // bytes
	Applied, Index  uint64 // entries of the log that it has taken in, and that it has
	Revision        int64
	Version         string   // of etcd
	Alarms          []string // what is wrong with it, in etcd's words
}

// Status asks one member, which need not have a leader.
func (m *Membership) Status(ctx context.Context, endpoint string) (MemberStatus, error) {
	var s MemberStatus
	err := m.at(ctx, endpoint, func(ctx context.Context, remote pb.MaintenanceClient) error {
		resp, err := remote.Status(ctx, &pb.StatusRequest{})
		if err != nil {
			return err
		}
		s = MemberStatus{
			ID: resp.Header.MemberId, Leader: resp.Leader, Learner: resp.IsLearner,
			DBSize: resp.DbSize, DBInUse: resp.DbSizeInUse, DBQuota: resp.DbSizeQuota,
			Applied: resp.RaftAppliedIndex, Index: resp.RaftIndex,
			Revision: resp.Header.Revision, Version: resp.Version, Alarms: resp.Errors,
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("ask the etcd at %s how it is: %w", endpoint, err)
	}
	return s, nil
}

// Defragment gives the space that one member's database does not use back to
// the disk. The member answers nobody meanwhile. It takes as long as it takes.
func (m *Membership) Defragment(ctx context.Context, endpoint string) error {
	client, err := m.client.connected(ctx)
	if err == nil {
		err = m.to(client, endpoint, func(remote pb.MaintenanceClient) error {
			_, err := remote.Defragment(ctx, &pb.DefragmentRequest{})
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("defragment the etcd at %s: %w", endpoint, explainChange(err))
	}
	return nil
}

// Compact forgets what was before a revision, and returns once the space of that
// can be given back. It takes as long as it takes; store.ErrCompacted says that
// it was forgotten before.
func (m *Membership) Compact(ctx context.Context, revision int64) error {
	client, err := m.client.connected(ctx)
	if err == nil {
		_, err = client.Compact(ctx, revision, clientv3.WithCompactPhysical())
	}
	if err != nil {
		return fmt.Errorf("have etcd forget what was before revision %d: %w", revision, explain(err))
	}
	return nil
}

// Alarm is why a cluster takes nothing in.
type Alarm struct {
	Member  uint64
	NoSpace bool // the quota is used up; else the members' data differ
}

// Alarms lists the alarms that are raised.
func (m *Membership) Alarms(ctx context.Context) ([]Alarm, error) {
	var all []Alarm
	err := m.client.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.AlarmList(ctx)
		if err != nil {
			return err
		}
		all = nil
		for _, a := range resp.Alarms {
			all = append(all, Alarm{Member: a.MemberID, NoSpace: a.Alarm == pb.AlarmType_NOSPACE})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the alarms of etcd: %w", err)
	}
	return all, nil
}

// Disarm ends the alarms for space. The other one stays: data that differ do
// not become the same by it.
func (m *Membership) Disarm(ctx context.Context) error {
	alarms, err := m.Alarms(ctx)
	if err != nil {
		return err
	}
	for _, alarm := range alarms {
		if !alarm.NoSpace {
			continue
		}
		err := m.change(ctx, func(ctx context.Context, client *clientv3.Client) error {
			_, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: alarm.Member, Alarm: pb.AlarmType_NOSPACE})
			return err
		})
		if err != nil {
			return fmt.Errorf("end the alarm of etcd member %x: %w", alarm.Member, err)
		}
	}
	return nil
}

// Snapshot writes all that is stored, as one member has it, in the form that
// etcdutl restores: with its hash. It takes as long as it takes.
func (m *Membership) Snapshot(ctx context.Context, w io.Writer) error {
	client, err := m.client.connected(ctx)
	if err != nil {
		return fmt.Errorf("copy the store: %w", explain(err))
	}
	from, err := client.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("copy the store: %w", explain(err))
	}
	_, err = io.Copy(w, from)
	if err := errors.Join(err, from.Close()); err != nil {
		return fmt.Errorf("copy the store: %w", err)
	}
	return nil
}

// change makes one request that changes the membership. It is sent once, and
// again only where nobody looked at it.
func (m *Membership) change(ctx context.Context, ask request) error {
	return explainChange(m.client.once(ctx, changeLimit, ask))
}

// at makes a request to one member, within the client's limit.
func (m *Membership) at(ctx context.Context, endpoint string, ask func(context.Context, pb.MaintenanceClient) error) error {
	return explainChange(m.client.within(ctx, m.client.limit, func(ctx context.Context, client *clientv3.Client) error {
		return m.to(client, endpoint, func(remote pb.MaintenanceClient) error { return ask(ctx, remote) })
	}))
}

// to makes a request to one member, on a connection for it alone.
func (m *Membership) to(client *clientv3.Client, endpoint string, ask func(pb.MaintenanceClient) error) error {
	m.client.turn <- struct{}{} // Dial reads what SetEndpoints changes
	conn, err := client.Dial(endpoint)
	<-m.client.turn
	if err != nil {
		return err
	}
	err = rpctypes.Error(ask(pb.NewMaintenanceClient(conn)))
	_ = conn.Close()
	return err
}

// explainChange is explain with what etcd says of members.
func explainChange(err error) error {
	for _, c := range []struct {
		kind error
		said []error
	}{
		{ErrNotInStep, []error{rpctypes.ErrMemberLearnerNotReady}},
		{ErrNoMember, []error{rpctypes.ErrMemberNotFound}},
		{ErrKnown, []error{rpctypes.ErrMemberExist, rpctypes.ErrPeerURLExist}},
		{ErrAtRisk, []error{rpctypes.ErrMemberNotEnoughStarted, rpctypes.ErrUnhealthy}},
		{ErrNotLeader, []error{rpctypes.ErrNotLeader, rpctypes.ErrBadLeaderTransferee}},
	} {
		if isAny(err, c.said...) {
			return &RequestError{kind: c.kind, request: err}
		}
	}
	return explain(err)
}
