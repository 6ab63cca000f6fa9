package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
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

// write is take for people, who have the file themselves: it has no place here.
func (b backups) write(ctx context.Context, w io.Writer) (made api.Backup, err error) {
	folder, err := os.MkdirTemp(filepath.Dir(b.dir), "backup-")
	if err != nil {
		return made, fmt.Errorf("take a backup: %w", err)
	}
	path := filepath.Join(folder, "backup.tar")
	manifest, err := b.take(ctx, path)
	var file *os.File
	if err == nil {
		file, err = os.Open(path)
	}
	// Its name is not needed any more, whoever reads it however slowly.
	if err := errors.Join(err, os.RemoveAll(folder)); err != nil {
		return made, fmt.Errorf("take a backup: %w", err)
	}
	defer file.Close()
	// A part is a line of JSON: neither one for 32 KiB nor one for all.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{file}, make([]byte, 1<<20)); err != nil {
		return made, fmt.Errorf("send the backup: %w", err)
	}
	return backupOf("", manifest), nil
}

// run takes one a day while a member runs here.
func (b backups) run(ctx context.Context) error {
	if b.own == nil {
		return nil
	}
	return backup.Daily{Dir: b.dir, Take: b.take, Wants: b.own.HasCopy, Now: time.Now, Sleep: store.Sleep, Log: b.log}.Run(ctx)
}
