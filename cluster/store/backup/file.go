package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gvlan/cluster/store/internal/folder"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Format is the version of what Write writes.
const Format = 1

const (
	manifestName = "manifest.json"
	snapshotName = "snapshot.db"
	fileMode     = 0o600
	// manifestLimit bounds what is read of a file that may be anything.
	manifestLimit = 64 << 10
)

var (
	// ErrExists: there is a file already, which is left alone.
	ErrExists = errors.New("there is a file of that name already: it is not written over")
	// ErrNoBackup: the file is no backup, or not one that this gvlan reads.
	ErrNoBackup = errors.New("it is no backup of gvlan's store")
	// ErrDamaged: it is one, and not as it was written.
	ErrDamaged = errors.New("the backup is damaged")
)

// Manifest says what is in a backup.
type Manifest struct {
	Format   int       `json:"version"`
	Cluster  string    `json:"cluster"`  // uuid
	Revision int64     `json:"revision"` // of the store, that the copy is true of
	Time     time.Time `json:"time"`     // at which it was begun
	Node     string    `json:"node"`     // that wrote it
	Gvlan    string    `json:"gvlan"`    // its version
	SHA256   string    `json:"sha256"`   // of the snapshot, hexadecimal
	Size     int64     `json:"size"`     // of the snapshot, bytes
}

// Source copies the store in the form that etcdutl restores.
type Source interface {
	Snapshot(ctx context.Context, w io.Writer) error
}

// About is what the writer says of a backup.
type About struct {
	Cluster, Node, Gvlan string
	Time                 time.Time
}

// Write makes a backup at path: whole, or not at all, and never over another
// file (ErrExists).
func Write(ctx context.Context, from Source, about About, path string) (Manifest, error) {
	m := Manifest{Format: Format, Cluster: about.Cluster, Node: about.Node, Gvlan: about.Gvlan, Time: about.Time.UTC().Truncate(time.Second)}
	err := appear(ctx, path, func(draft string) (string, error) {
		copied, whole := filepath.Join(draft, snapshotName), filepath.Join(draft, "backup")
		if err := takeCopy(ctx, from, copied, &m); err != nil {
			return "", err
		}
		return whole, pack(m, copied, whole)
	})
	if err != nil {
		return m, fmt.Errorf("write a backup to %s: %w", path, err)
	}
	return m, nil
}

// Receive keeps at path a backup that another process has taken and fill
// writes: verified and whole, or not at all, and never over another file
// (ErrExists).
func Receive(ctx context.Context, path string, fill func(io.Writer) error) error {
	err := appear(ctx, path, func(draft string) (string, error) {
		whole := filepath.Join(draft, "backup")
		file, err := os.OpenFile(whole, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
		if err != nil {
			return "", err
		}
		if err = fill(file); err == nil {
			err = file.Sync()
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return "", err
		}
		_, err = Verify(whole)
		return whole, err
	})
	if err != nil {
		return fmt.Errorf("write a backup to %s: %w", path, err)
	}
	return nil
}

// appear gives a file that write makes in a folder of its own its name.
func appear(ctx context.Context, path string, write func(draft string) (whole string, err error)) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return ErrExists // before the work
	}
	// Beside the file: a rename stays within one file system.
	draft, err := os.MkdirTemp(filepath.Dir(path), ".gvlan-backup-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	whole, err := write(draft)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := moveInto(whole, path); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(path))
}

// takeCopy copies the store to a file and completes the manifest from it.
func takeCopy(ctx context.Context, from Source, path string, m *Manifest) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	sum := sha256.New()
	err = from.Snapshot(ctx, io.MultiWriter(file, sum))
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	m.Size, m.SHA256 = info.Size(), hex.EncodeToString(sum.Sum(nil))
	// The copy itself says how old it is: the member it comes from may lag.
	status, err := snapshot.NewV3(zap.NewNop()).Status(path)
	if err != nil {
		return fmt.Errorf("look into the copy: %w", err)
	}
	m.Revision = status.Revision
	return nil
}

// pack writes the archive and has it on disk.
func pack(m Manifest, copied, path string) error {
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	from, err := os.Open(copied)
	if err != nil {
		return err
	}
	defer from.Close()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(file)
	header := func(name string, size int64) error {
		return archive.WriteHeader(&tar.Header{Name: name, Size: size, Mode: fileMode, ModTime: m.Time, Format: tar.FormatPAX})
	}
	err = header(manifestName, int64(len(raw)))
	if err == nil {
		_, err = archive.Write(raw)
	}
	if err == nil {
		err = header(snapshotName, m.Size)
	}
	if err == nil {
		_, err = io.Copy(archive, from)
	}
	if err == nil {
		err = archive.Close()
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// moveInto gives a file its name, unless another one has that. File systems of
// other makers than Linux may have no such rename, but a link.
func moveInto(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = os.Link(from, to)
	}
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	return err
}

// Verify reads a whole backup and holds it against its manifest.
func Verify(path string) (Manifest, error) {
	return read(path, io.Discard)
}

// Extract verifies a backup and writes its snapshot to a new file, readable to
// its owner only, which is not there when it fails.
func Extract(path, snapshot string) (Manifest, error) {
	file, err := os.OpenFile(snapshot, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return Manifest{}, fmt.Errorf("take the copy out of %s: %w", path, err)
	}
	m, err := read(path, file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return m, errors.Join(err, os.Remove(snapshot))
	}
	return m, nil
}

// read copies the snapshot and verifies it.
func read(path string, into io.Writer) (Manifest, error) {
	b, err := open(path)
	if err != nil {
		return Manifest{}, err
	}
	defer b.file.Close()
	header, err := b.archive.Next()
	if err != nil || header.Name != snapshotName {
		return b.Manifest, fmt.Errorf("read %s: %w: it ends before the snapshot: %w", path, ErrDamaged, err)
	}
	// A file of holes is small and fills a disk.
	if about, err := b.file.Stat(); err != nil || about.Mode().IsRegular() && header.Size > about.Size() {
		return b.Manifest, errors.Join(fmt.Errorf("read %s: %w: it is cut off: it has no room for %d bytes", path, ErrDamaged, header.Size), err)
	}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(into, sum), b.archive)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return b.Manifest, fmt.Errorf("read %s: %w: it is cut off after %d bytes of %d", path, ErrDamaged, size, b.Size)
	}
	if err != nil {
		return b.Manifest, fmt.Errorf("read %s: %w", path, err)
	}
	if found := hex.EncodeToString(sum.Sum(nil)); size != b.Size || found != b.SHA256 {
		return b.Manifest, fmt.Errorf("read %s: %w: %d bytes with sha256 %s, where its manifest says %d with %s", path, ErrDamaged, size, found, b.Size, b.SHA256)
	}
	return b.Manifest, nil
}

// opened is a backup whose manifest was read.
type opened struct {
	Manifest
	file    *os.File
	archive *tar.Reader
}

func open(path string) (b opened, err error) {
	if b.file, err = os.Open(path); err != nil {
		return b, fmt.Errorf("read a backup: %w", err)
	}
	b.archive = tar.NewReader(b.file)
	if err := b.readManifest(); err != nil {
		return b, errors.Join(fmt.Errorf("read %s: %w", path, err), b.file.Close())
	}
	return b, nil
}

func (b *opened) readManifest() error {
	header, err := b.archive.Next()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	if header.Name != manifestName || header.Size > manifestLimit {
		return fmt.Errorf("%w: it begins with %q", ErrNoBackup, header.Name)
	}
	raw, err := io.ReadAll(b.archive)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := json.Unmarshal(raw, &b.Manifest); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if b.Format != Format {
		return fmt.Errorf("%w that this version reads: it is of form %d, want %d", ErrNoBackup, b.Format, Format)
	}
	return nil
}
