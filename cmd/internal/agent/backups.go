package agent

import (
	"context"
	"io"
	"log/slog"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/backup"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
)

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

// write is take for people.
func (b backups) write(ctx context.Context, path string) (api.Backup, error) {
	made, err := b.take(ctx, path)
	return backupOf(path, made), err
}

// run takes one a day while a member runs here.
func (b backups) run(ctx context.Context) error {
	if b.own == nil {
		return nil
	}
	return backup.Daily{Dir: b.dir, Take: b.take, Wants: b.own.HasCopy, Now: time.Now, Sleep: store.Sleep, Log: b.log}.Run(ctx)
}
