package authority

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gvlan/cluster/store/internal/folder"
)

// The files of an identity.
const (
	nodeKeyFile    = "node.key"
	nodeCertFile   = "node.crt"
	rootsFile      = "roots.pem"
	memberKeyFile  = "member.key"
	memberCertFile = "member.crt"
	refusedFile    = "refused.crl"
	authorityFile  = "authority.pem"
	secretFile     = "secret"

	unfinished = ".new-" // begins the name of a file that is being written
	dirMode    = 0o700
	fileMode   = 0o600
)

// Files are the files that etcd reads, at every connection but for CA.
type Files struct {
	Cert, Key, CA, CRL string
}

// prepare makes the folder, or takes from others what they may see of it, and
// removes what a death left unfinished.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	if err := os.Chmod(dir, dirMode); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), unfinished):
			err = os.Remove(path)
		case entry.Type().IsRegular():
			err = os.Chmod(path, fileMode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read returns a file; nil: there is none.
func read(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

// write replaces a file in one step, on the disk when it returns.
func write(path string, raw []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, unfinished+"*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	err = errors.Join(err, tmp.Chmod(fileMode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return err
	}
	return folder.Sync(dir)
}

// remove removes files in this order, those that are there.
func remove(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := folder.Sync(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return nil
}
