package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// Backup writes a snapshot of a running server to a file, as `etcdctl snapshot
// save` does.
func (e *Etcd) Backup(ctx context.Context, client *clientv3.Client, file string) error {
	taken, err := client.SnapshotWithVersion(ctx)
	if err != nil {
		return fmt.Errorf("back %s up: %w", e.name, err)
	}
	defer taken.Snapshot.Close()
	to, err := os.Create(file)
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := to.ReadFrom(taken.Snapshot); err != nil {
		return fmt.Errorf("back %s up: %w", e.name, err)
	}
	return nil
}

// RestoreBackup replaces the data of a stopped server by a backup, as `etcdutl
// snapshot restore` does; with bump as its --bump-revision and --mark-compacted.
func (e *Etcd) RestoreBackup(file string, bump uint64) error {
	if err := e.Wipe(); err != nil {
		return err
	}
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: file, Name: e.name, OutputDataDir: e.machine.Path(e.dir),
		PeerURLs: []string{e.peer()}, InitialCluster: e.name + "=" + e.peer(), InitialClusterToken: "etcd-cluster",
		RevisionBump: bump, MarkCompacted: bump > 0,
	})
	if err != nil {
		return fmt.Errorf("restore %s from a backup: %w", e.name, err)
	}
	return nil
}

// peer is the URL that other members would use.
func (e *Etcd) peer() string { return "http://" + netip.AddrPortFrom(e.Addr.Addr(), 2380).String() }
