package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/backup"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/members"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
)

// storeAnswers answers the store, token and authority commands.
type storeAnswers struct {
	own     *hosting.Store // nil: the store is somebody else's
	client  *etcd.Client
	nodes   *nodes
	session *session.Session
	backups backups
}

// register adds the routes of these commands to the server.
func (a storeAnswers) register(server *api.Server) {
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET " + api.StoreRoute: a.list, "POST " + api.StoreSizeRoute: a.size,
		"GET " + api.TokenRoute: a.token, "POST " + api.TokenRotateRoute: a.rotateToken,
		"POST " + api.BackupRoute: a.backup,
		"GET " + api.CAStateRoute: a.authority, "POST " + api.CARotateRoute: a.rotateAuthority,
	} {
		server.Handle(pattern, func(r *http.Request) (any, error) {
			if a.own == nil {
				return nil, errExternal
			}
			return answer(r)
		})
	}
}

// token is the line others join with, on a host that keeps the secret.
func (a storeAnswers) token(r *http.Request) (any, error) {
	token, err := a.own.Token(r.Context())
	return a.line(token, err)
}

func (a storeAnswers) line(token authority.Token, err error) (any, error) {
	if err != nil {
		return nil, a.elsewhere(err)
	}
	return api.JoinLine{Address: a.own.Base(), Token: token.String()}, nil
}

// elsewhere says on which hosts a command is to be run, where this host cannot
// because it runs no member.
func (a storeAnswers) elsewhere(err error) error {
	if !errors.Is(err, hosting.ErrNoMember) {
		return err
	}
	switch a.own.Standing() {
	case hosting.Solo:
		return errors.New("this host is solo: gvlan init opens its store to others")
	case hosting.Joining:
		return a.own.Trouble()
	case hosting.Cluster:
	}
	var hosts []string
	called := api.CallNodes(a.nodes.names())
	for _, p := range a.own.Places() {
		hosts = append(hosts, called(p.Node))
	}
	return fmt.Errorf("%w: run this on %s", err, strings.Join(hosts, " or "))
}

func (a storeAnswers) rotateToken(r *http.Request) (any, error) {
	token, err := a.own.RotateToken(r.Context())
	return a.line(token, err)
}

func (a storeAnswers) size(r *http.Request) (any, error) {
	asked, err := api.BodyOf[api.StoreSize](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, members.SetSize(r.Context(), a.session, asked.Voters)
}

// list shows the members, and why the other hosts run none.
func (a storeAnswers) list(r *http.Request) (any, error) {
	view := api.StoreView{Standing: string(a.own.Standing()), Members: []api.StoreMember{}, Hosts: []api.StoreHost{}}
	if a.own.Standing() != hosting.Cluster {
		return view, nil
	}
	found, err := a.own.Survey(r.Context(), a.session, a.client)
	if err != nil {
		return nil, err
	}
	life := a.own.Life()
	view.Want, view.Life, view.From, view.Warnings = found.Want, life.Number, life.From, a.own.Warnings(api.CallNodes(a.nodes.names()))
	called := api.CallNodes(a.nodes.names())
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
func (a storeAnswers) authority(r *http.Request) (any, error) {
	at, err := a.own.Rotation(r.Context())
	if err != nil {
		return nil, a.elsewhere(err)
	}
	called, answer := api.CallNodes(a.nodes.names()), api.AuthorityRotation{Stage: string(at.Stage), Waiting: []string{}}
	for _, node := range at.Waiting {
		answer.Waiting = append(answer.Waiting, called(node))
	}
	return answer, nil
}

func (a storeAnswers) rotateAuthority(r *http.Request) (any, error) {
	if err := a.own.RotateAuthority(r.Context()); err != nil {
		return nil, a.elsewhere(err)
	}
	return a.authority(r)
}

// backup writes a copy of the store where it is asked for.
func (a storeAnswers) backup(r *http.Request) (any, error) {
	asked, err := api.BodyOf[api.BackupFile](r)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(asked.Path) {
		return nil, fmt.Errorf("back up to %q: want a path from the root", asked.Path)
	}
	made, err := a.backups.take(r.Context(), asked.Path)
	return backupOf(asked.Path, made), err
}

// backups are the copies of the store that this host takes.
type backups struct {
	own     *hosting.Store // nil: the store is somebody else's
	client  *etcd.Client
	session *session.Session
	dir     string // of the daily ones
	version string
	log     *slog.Logger
}

// Snapshot implements backup.Source.
func (b backups) Snapshot(ctx context.Context, w io.Writer) error {
	return b.own.Snapshot(ctx, b.client, w)
}

func (b backups) take(ctx context.Context, path string) (backup.Manifest, error) {
	return backup.Write(ctx, b, backup.About{Cluster: b.session.Cluster(), Node: b.session.Node(), Gvlan: b.version, Time: time.Now()}, path)
}

// run takes one a day while a member runs here.
func (b backups) run(ctx context.Context) error {
	if b.own == nil {
		return nil
	}
	return backup.Daily{Dir: b.dir, Take: b.take, Wants: b.own.HasCopy, Now: time.Now, Sleep: store.Sleep, Log: b.log}.Run(ctx)
}
