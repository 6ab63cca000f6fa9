package embedded

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"gvlan/cluster/store/authority"
)

// The files of a data directory that are gvlan's; etcd's are in "member".
const (
	tokenFile  = "token"
	lockFile   = "lock"
	caFile     = "ca.crt"
	certFile   = "server.crt"
	keyFile    = "server.key"
	secretMode = 0o600
)

// keptToken returns the token of a data directory, making it the first time.
func keptToken(dir string) (string, error) {
	path := filepath.Join(dir, tokenFile)
	raw, err := os.ReadFile(path)
	switch {
	case err == nil:
		return strings.TrimSpace(string(raw)), nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the token of the embedded etcd: %w", err)
	}
	token := authority.NewToken()
	if err := writeSecret(path, []byte(token+"\n")); err != nil {
		return "", fmt.Errorf("keep the token of the embedded etcd: %w", err)
	}
	return token, nil
}

// writeServerFiles writes a server's certificate, its key and the
// authority's certificate where etcd reads them at every handshake.
func writeServerFiles(dir string, root *x509.Certificate, cert *tls.Certificate) error {
	key, ok := cert.PrivateKey.(ed25519.PrivateKey)
	if !ok {
		return fmt.Errorf("write the server's certificate: %w", errNoKey)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write the server's key: %w", err)
	}
	for _, file := range []struct {
		name, kind string
		der        []byte
	}{
		{caFile, "CERTIFICATE", root.Raw},
		{keyFile, "PRIVATE KEY", der},
		{certFile, "CERTIFICATE", cert.Certificate[0]},
	} {
		raw := pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.der})
		if err := writeSecret(filepath.Join(dir, file.name), raw); err != nil {
			return fmt.Errorf("write the certificates of the embedded etcd: %w", err)
		}
	}
	return nil
}

var errNoKey = errors.New("it holds no ed25519 key")

// writeSecret replaces a file in one step, readable by its owner only.
func writeSecret(path string, raw []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	err = errors.Join(err, tmp.Chmod(secretMode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// lock takes a data directory for this process, until the file is closed.
// etcd would wait for another process to leave, without a word and without
// end.
func lock(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, secretMode)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory of the embedded etcd: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("data directory %s of the embedded etcd is in use by %s: stop it first", dir, holder(file))
		return nil, errors.Join(err, file.Close())
	}
	if err == nil {
		err = file.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(file, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
	}
	return file, nil
}

// holder describes the process whose id is in a lock file.
func holder(file *os.File) string {
	raw := make([]byte, 32)
	n, _ := file.ReadAt(raw, 0)
	pid := strings.TrimSpace(string(raw[:n]))
	name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	if pid == "" || err != nil {
		return "another process"
	}
	return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
}
