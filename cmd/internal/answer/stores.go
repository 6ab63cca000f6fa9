package answer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/care"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/join"
	"gvlan/cluster/store/members"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
)

// Stores answers the store, token and authority commands.
type Stores struct {
	Roster  Roster
	Own     *hosting.Store // nil: the store is somebody else's
	Client  *etcd.Client
	Session *session.Session
	Backup  func(ctx context.Context, w io.Writer) (api.Backup, error)
}

// ErrExternal refuses what is about the cluster's own store.
var ErrExternal = errors.New("this agent uses an etcd that is not gvlan's (--etcd-endpoints): its members, tokens and backups are its operator's")

// Register adds the routes of these commands to the server.
func (a Stores) Register(server *api.Server) {
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET " + api.StoreRoute: a.list, "POST " + api.StoreSizeRoute: a.size,
		"GET " + api.TokenRoute: a.token, "POST " + api.TokenRotateRoute: a.rotateToken,
		"GET " + api.CAStateRoute: a.authority, "POST " + api.CARotateRoute: a.rotateAuthority,
	} {
		server.Handle(pattern, func(r *http.Request) (any, error) {
			if a.Own == nil {
				return nil, ErrExternal
			}
			return answer(r)
		})
	}
	server.Stream("POST "+api.BackupRoute, a.backup)
}

// token is the line others join with, on a host that keeps the secret.
func (a Stores) token(r *http.Request) (any, error) {
	token, err := a.Own.Token(r.Context())
	return a.line(token, err)
}

func (a Stores) line(token authority.Token, err error) (any, error) {
	if err != nil {
		return nil, a.elsewhere(err)
	}
	return api.JoinLine{Address: a.Own.Base(), Token: token.String()}, nil
}

// elsewhere says on which hosts a command is to be run, where this host cannot
// because it runs no member.
func (a Stores) elsewhere(err error) error {
	if !errors.Is(err, hosting.ErrNoMember) {
		return err
	}
	switch a.Own.Standing() {
	case hosting.Solo:
		return errors.New("this host is solo: gvlan init opens its store to others")
	case hosting.Joining:
		return a.Own.Trouble()
	case hosting.Cluster:
	}
	var hosts []string
	called := api.CallNodes(a.Roster.Names())
	for _, p := range a.Own.Places() {
		hosts = append(hosts, called(p.Node))
	}
	return fmt.Errorf("%w: run this on %s", err, cmp.Or(strings.Join(hosts, " or "), "a host that does (gvlan store ls)"))
}

func (a Stores) rotateToken(r *http.Request) (any, error) {
	token, err := a.Own.RotateToken(r.Context())
	return a.line(token, err)
}

func (a Stores) size(r *http.Request) (any, error) {
	asked, err := api.BodyOf[api.StoreSize](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, members.SetSize(r.Context(), a.Session, asked.Voters)
}

// list shows the members, and why the other hosts run none.
func (a Stores) list(r *http.Request) (any, error) {
	view := api.StoreView{Standing: string(a.Own.Standing()), Members: []api.StoreMember{}, Hosts: []api.StoreHost{}}
	if a.Own.Standing() != hosting.Cluster {
		return view, nil
	}
	found, err := a.Own.Survey(r.Context(), a.Session, a.Client)
	called, life := api.CallNodes(a.Roster.Names()), a.Own.Life()
	view.Life, view.From, view.Warnings = life.Number, life.From, a.Own.Warnings(called)
	if errors.Is(err, store.ErrUnavailable) {
		looked, _ := a.Own.Health()
		view.Members, view.AsOf = lastSeen(looked.Members, a.Own.Places(), called), a.Roster.Directory.Known().Heard
		if len(view.Members) == 0 || view.AsOf.IsZero() {
			return nil, fmt.Errorf("the members cannot be listed: %w", store.ErrUnavailable) // one for each of what was read
		}
		return view, nil
	}
	if err != nil {
		return nil, err
	}
	view.Want = found.Want
	for _, m := range found.Members {
		at, told := found.Statuses[m.ID]
		row := api.StoreMember{Node: m.Node, Host: called(m.Node), Address: baseOf(found.Hosts, m.Node), Role: "voter", Lag: m.Lag, Size: at.DBSize, InUse: at.DBInUse, Alarms: at.Alarms}
		switch {
		case m.Learner:
			row.Role = "learner"
		case m.Leader:
			row.Role = "leader"
		}
		if !told {
			row.Why = "does not answer"
		}
		view.Members = append(view.Members, row)
	}
	for _, h := range found.Hosts {
		if why := found.Why(h.Node); why != "" {
			view.Hosts = append(view.Hosts, api.StoreHost{Node: h.Node, Host: called(h.Node), Why: why})
		}
	}
	slices.SortFunc(view.Members, func(x, y api.StoreMember) int { return cmp.Compare(x.Host, y.Host) })
	slices.SortFunc(view.Hosts, func(x, y api.StoreHost) int { return cmp.Compare(x.Host, y.Host) })
	return view, nil
}

// lastSeen are the members as they were at the last look or, where none was taken
// since this agent began, those that this host remembers.
func lastSeen(looked []care.Member, remembered []join.Place, called func(node string) string) (all []api.StoreMember) {
	bases := map[string]string{}
	for _, p := range remembered {
		bases[p.Node] = p.Client
		if len(looked) == 0 {
			row := api.StoreMember{Node: p.Node, Host: called(p.Node), Address: p.Client, Role: "voter"}
			if p.Learner {
				row.Role = "learner"
			}
			all = append(all, row)
		}
	}
	for _, m := range looked {
		row := api.StoreMember{Node: m.Node, Host: called(m.Node), Address: bases[m.Node], Role: "voter", Size: m.Size, InUse: m.InUse}
		switch {
		case m.Learner:
			row.Role = "learner"
		case m.Leader:
			row.Role = "leader"
		}
		if !m.Answers {
			row.Why = "does not answer"
		}
		all = append(all, row)
	}
	slices.SortFunc(all, func(x, y api.StoreMember) int { return cmp.Compare(x.Host, y.Host) })
	return all
}

// baseOf is where a host serves the store.
func baseOf(hosts []members.Host, node string) string {
	for _, h := range hosts {
		if h.Node == node {
			return h.Base
		}
	}
	return ""
}

// authority says how far a change of the authority is.
func (a Stores) authority(r *http.Request) (any, error) {
	at, err := a.Own.Rotation(r.Context())
	if err != nil {
		return nil, a.elsewhere(err)
	}
	called, answer := api.CallNodes(a.Roster.Names()), api.AuthorityRotation{Stage: string(at.Stage), Waiting: []string{}}
	for _, node := range at.Waiting {
		answer.Waiting = append(answer.Waiting, called(node))
	}
	return answer, nil
}

func (a Stores) rotateAuthority(r *http.Request) (any, error) {
	if err := a.Own.RotateAuthority(r.Context()); err != nil {
		return nil, a.elsewhere(err)
	}
	return a.authority(r)
}

// backup sends a copy of the store.
func (a Stores) backup(r *http.Request, tell func(any) error) error {
	if a.Own == nil {
		return ErrExternal
	}
	made, err := a.Backup(r.Context(), parts(tell))
	if err != nil {
		return err
	}
	return tell(api.BackupPart{Made: &made})
}

// parts sends what is written to it.
type parts func(any) error

func (p parts) Write(data []byte) (int, error) {
	if err := p(api.BackupPart{Data: data}); err != nil {
		return 0, err
	}
	return len(data), nil
}
