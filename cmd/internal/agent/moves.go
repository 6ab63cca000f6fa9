package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gvlan/cluster/description"
	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cluster/store/backup"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/answer"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/driver"
	"gvlan/driver/journal"
	"gvlan/ipam"
	"gvlan/ipam/evict"
)

// releasesLook is how often what is given back is looked at, and stayAgain how
// often a host says that it does not leave after all.
const (
	releasesLook = 100 * time.Millisecond
	stayAgain    = 2 * time.Second
)

// goPatience is how long what has begun goes on for whose command was given up.
const goPatience = 30 * time.Second

// moves are the commands after which this host uses another store: init, join,
// leave, store recover and restore. Each changes what this host's folder says,
// answers, and has the agent begin anew; nothing of it is half done when the agent
// dies in between.
type moves struct {
	own     *hosting.Store // nil: the store is somebody else's
	dir     string         // data directory
	memory  *journal.Memory
	trail   *events.Recorder
	session *session.Session
	driver  *driver.Driver
	nodes   *nodes
	log     *slog.Logger

	addresses *ipam.Allocator

	settings config.Config // what they say to join or to begin with

	one    sync.Mutex    // one at a time
	going  atomic.Bool   // this host gives its name back: its session may end before the move is made
	made   chan struct{} // closed by the first, which is the last of this agent
	stayed chan struct{} // closed when stay has ended
}

// register adds the routes of the moves to the server.
func (m *moves) register(server *api.Server) {
	server.Handle("POST "+api.StoreInitRoute, m.init)
	server.Handle("POST "+api.StoreJoinRoute, m.join)
	server.Handle("POST "+api.StoreLeaveRoute, m.leave)
	server.Handle("POST "+api.StoreRecoverRoute, m.recover)
	server.Handle("POST "+api.RestoreRoute, m.restore)
}

// outcome is hosting.ErrMoved once this host uses another store.
func (m *moves) outcome() error {
	select {
	case <-m.made:
		return hosting.ErrMoved
	default:
		return nil
	}
}

// goesOn reports whether the agent begins anew once it has ended.
func (m *moves) goesOn() bool { return m.going.Load() || m.outcome() != nil }

// move runs one move alone, and has the agent begin anew when it succeeded.
func (m *moves) move(do func(own *hosting.Store) error) error {
	if m.own == nil {
		return answer.ErrExternal
	}
	if !m.one.TryLock() { // it may wait for other hosts
		return errors.New("another init, join, leave, store recover or restore is being done on this host: wait for that one, or give it up")
	}
	defer m.one.Unlock()
	if m.outcome() != nil {
		return errors.New("this host is just coming to another store: try again in a moment")
	}
	if err := do(m.own); err != nil {
		return err
	}
	close(m.made)
	return nil
}

// init makes a solo host's store one that others can join.
func (m *moves) init(r *http.Request) (any, error) {
	asked, err := api.BodyOf[api.StoreInit](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, m.move(func(own *hosting.Store) error {
		switch own.Standing() {
		case hosting.Joining:
			return fmt.Errorf("its settings have this host join a cluster (--join): %w", own.Trouble())
		case hosting.Cluster:
			return errors.New("this host is of a cluster already: gvlan token show prints how others join it")
		case hosting.Solo:
		}
		return own.Begin(asked.Listen)
	})
}

// join brings a solo host into a cluster. What it has of its own would be
// unknown there, so it is refused while there is any.
func (m *moves) join(r *http.Request) (any, error) {
	asked, err := api.BodyOf[api.StoreJoin](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, m.move(func(own *hosting.Store) error {
		if own.Standing() == hosting.Cluster && !errors.Is(own.Trouble(), hosting.ErrExiled) {
			return errors.New("this host is of a cluster already: gvlan leave takes it out of that one first")
		}
		return m.joinWith(r.Context(), own, asked)
	})
}

// joinWith joins, with what this host has of its own, without, or not at all.
func (m *moves) joinWith(ctx context.Context, own *hosting.Store, asked api.StoreJoin) error {
	var may func(context.Context, store.KV) error
	if titles := m.ownNetworks(); own.Standing() != hosting.Cluster && len(titles) > 0 {
		switch {
		case asked.Import:
			may = m.fitsInto
		case asked.Discard:
			may = func(ctx context.Context, _ store.KV) error {
				return m.driver.Withdraw(ctx, "this host joins a cluster")
			}
		default:
			return fmt.Errorf("this host has networks of its own, which the cluster does not know: %s: bring them along, with the addresses of their containers, by adding --import, "+
				"or have them removed by adding --discard", strings.Join(titles, ", "))
		}
	}
	err := own.Join(ctx, hosting.WithPort(asked.Address), asked.Token, may)
	if err != nil && asked.Discard {
		m.driver.Resume()
	}
	return err
}

func (m *moves) ownNetworks() (titles []string) {
	for _, n := range m.memory.Networks() {
		titles = append(titles, n.Title())
	}
	slices.Sort(titles)
	return titles
}

// fitsInto refuses a store that has a network of the name of one of this host's,
// or has given an address that this host has given.
func (m *moves) fitsInto(ctx context.Context, kv store.KV) error {
	names := map[string]bool{}
	for _, n := range m.memory.Networks() {
		names[n.Name] = n.Name != "" && n.Stage != journal.StageLocal
	}
	defined, err := store.All[store.Network](ctx, kv, store.NetworksSpan())
	if err != nil {
		return fmt.Errorf("see what the cluster has: %w", err)
	}
	var clashes []string
	for _, def := range defined {
		if names[def.Name] {
			clashes = append(clashes, "a network is called "+def.Name+" there as well")
		}
	}
	for _, l := range m.memory.Leases(func(l journal.Lease) bool { return l.State != journal.Releasing }) {
		_, err := kv.Get(ctx, store.LeaseKey(l.Segment, l.Address))
		switch {
		case err == nil:
			clashes = append(clashes, fmt.Sprintf("address %s is taken there", l.Address))
		case !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("see what the cluster has: %w", err)
		}
	}
	if len(clashes) > 0 {
		return fmt.Errorf("this host's networks do not fit into the cluster: %s: remove or change them here first, or join with --discard", strings.Join(clashes, "; "))
	}
	return nil
}

// leave makes this host solo. What runs on its networks would have addresses
// that the cluster gives to others, so it is refused while anything does.
func (m *moves) leave(r *http.Request) (any, error) {
	answer := api.StoreLeft{Unfollowed: m.unfollowed()}
	err := m.move(func(own *hosting.Store) error {
		switch {
		case own.Standing() != hosting.Cluster:
			return errors.New("this host is of no cluster: there is nothing to leave")
		case m.settings.Swarm:
			return errors.New("a managed plugin without a store would give the addresses of others: docker plugin disable ends it, and gvlan node evict on another host takes it out of the cluster")
		case errors.Is(own.Trouble(), hosting.ErrExiled):
			return m.goUnasked(own)
		}
		return m.handOver(r.Context(), own)
	})
	return answer, err
}

// unfollowed are the settings that would bring this host back into a cluster.
func (m *moves) unfollowed() (options []string) {
	if m.settings.Join.Address != "" {
		options = append(options, "--join")
	}
	if m.settings.Etcd.Listen != "" {
		options = append(options, "--etcd-listen")
	}
	return options
}

// goUnasked makes a host solo that its cluster has put out already.
func (m *moves) goUnasked(own *hosting.Store) error {
	if titles := m.ownNetworks(); len(titles) > 0 {
		return fmt.Errorf("%w; it still has networks of that cluster: %s: join again with gvlan join, or remove their containers, stop the agent and empty its data directory", own.Trouble(), strings.Join(titles, ", "))
	}
	return own.Leave()
}

// handOver takes this host out of its cluster: its place in the store first, then
// its networks, then its name. Who gives the command up ends it before its name is
// given back, and not after.
func (m *moves) handOver(ctx context.Context, own *hosting.Store) error {
	if m.alone() {
		return errors.New("no other host of this cluster can have the store: it would be gone. To begin anew, stop the agent and empty its data directory")
	}
	select {
	case <-m.stayed:
	case <-ctx.Done():
		return fmt.Errorf("%w: it does not answer yet", store.ErrUnavailable)
	}
	if err := description.Leave(ctx, m.session, m.session.Node(), true); err != nil {
		return err
	}
	err := m.empty(ctx, own)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goPatience)
	defer cancel()
	if err == nil {
		m.going.Store(true)
		if err := m.trail.Leave(ctx, m.session, m.session, "it left the cluster"); err != nil {
			m.log.Debug("other hosts are not told that this one leaves", "err", err)
		}
		err = evict.Resign(ctx, m.session, m.session.Node())
	}
	if err != nil {
		m.going.Store(false)
		m.driver.Resume()
		return errors.Join(err, description.Leave(ctx, m.session, m.session.Node(), false))
	}
	if err := own.Leave(); err != nil {
		return err
	}
	m.nodes.leave()
	return nil
}

// empty has this host hold nothing of its cluster any more.
func (m *moves) empty(ctx context.Context, own *hosting.Store) error {
	if err := own.AwaitHandedOver(ctx); err != nil {
		return err
	}
	if err := m.driver.Withdraw(ctx, "this host leaves the cluster"); err != nil {
		return err
	}
	return m.awaitReleases(ctx)
}

// stay says that this host does not leave: an agent that ended while it did has
// left a mark with which it would have no place in the store ever again.
func (m *moves) stay(ctx context.Context) error {
	defer close(m.stayed)
	if m.own == nil || m.own.Standing() != hosting.Cluster {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-m.session.Opened():
	}
	for ctx.Err() == nil {
		err := description.Leave(ctx, m.session, m.session.Node(), false)
		if err == nil || errors.Is(err, store.ErrNotFound) {
			return nil
		}
		m.log.Debug("not said yet that this host does not leave: tried again in two seconds", "err", err)
		store.Sleep(ctx, stayAgain)
	}
	return nil
}

// alone reports whether this host has the store, and no other host is known that
// can have it. Managed plugins cannot.
func (m *moves) alone() bool {
	if !m.own.HasMember() {
		return false
	}
	for _, row := range m.nodes.roster().Rows() {
		if row.Node != m.session.Node() && row.Store.Live != nil && row.Store.Description.Store != "" {
			return false
		}
	}
	return true
}

// awaitReleases waits until the store has taken what this host gave back.
func (m *moves) awaitReleases(ctx context.Context) error {
	for m.addresses.Pending() > 0 {
		if !store.Sleep(ctx, releasesLook) {
			return fmt.Errorf("%d addresses are not given back yet: %w", m.addresses.Pending(), ctx.Err())
		}
	}
	return nil
}

// recover goes on with this host's copy of a store whose majority is lost for good.
func (m *moves) recover(r *http.Request) (any, error) {
	var begun api.StoreBegun
	err := m.move(func(own *hosting.Store) error {
		loss, err := own.Recover(r.Context(), m.session)
		begun = m.begun(loss)
		if errors.Is(err, hosting.ErrNoMember) {
			return fmt.Errorf("%w: run this on a host that does (gvlan store ls, asked before, lists them), or restore a backup: gvlan restore FILE", err)
		}
		return err
	})
	return begun, err
}

func (m *moves) begun(loss hosting.Loss) api.StoreBegun {
	return api.StoreBegun{Life: loss.Life.Number, Known: int64(m.session.Seen()), Heard: loss.Heard}
}

// restoreFile is where a snapshot waits, in the data directory, to be restored.
const restoreFile = "restore.db"

// restore goes on with the store as it was in a backup.
func (m *moves) restore(r *http.Request) (any, error) {
	asked, err := api.BodyOf[api.RestoreFile](r)
	if err != nil {
		return nil, err
	}
	if m.own == nil {
		return nil, answer.ErrExternal
	}
	manifest, err := backup.Verify(asked.Path)
	if err != nil {
		return nil, err
	}
	answer := api.Restored{Backup: backupOf(asked.Path, manifest), Same: manifest.Cluster == m.session.Cluster()}
	if answer.Keeps, err = m.own.KeepsAuthority(); err != nil {
		return nil, err
	}
	if answer.Begun = m.begun(hosting.Loss{}); answer.Same {
		answer.Lost = hosting.Lost(answer.Begun.Known, manifest.Revision)
	}
	if asked.Look {
		return answer, nil
	}
	err = m.move(func(own *hosting.Store) error {
		waiting := filepath.Join(m.dir, restoreFile)
		if err := os.Remove(waiting); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restore %s: %w", asked.Path, err)
		}
		if _, err := backup.Extract(asked.Path, waiting); err != nil {
			return err
		}
		loss, err := own.Restore(waiting, fmt.Sprintf("it was restored from a backup of %s", manifest.Time.Format(time.RFC3339)))
		if err != nil {
			return errors.Join(err, os.Remove(waiting))
		}
		answer.Begun = m.begun(loss)
		return nil
	})
	return answer, err
}

func backupOf(path string, m backup.Manifest) api.Backup {
	return api.Backup{Path: path, Cluster: m.Cluster, Node: m.Node, Gvlan: m.Gvlan, Revision: m.Revision, Time: m.Time, Size: m.Size}
}
