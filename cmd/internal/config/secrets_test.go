package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cmd/internal/secretfile"
)

// TestExposedSecrets: an agent does not start with a secret that others may read,
// whichever setting names the file.
func TestExposedSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("web-password = \"open sesame\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	loaded := loadFrom(t, "--config", path)
	for option, c := range map[string]Config{
		"configuration":            {SecretsIn: loaded.Config.SecretsIn},
		"--etcd-key":               {Etcd: Etcd{Key: path}},
		"--etcd-password-file":     {Etcd: Etcd{PasswordFile: path}},
		"--dns-update-secret-file": {DNS: DNS{Update: Update{SecretFile: path}}},
		"--web-password-file":      {Web: Web{PasswordFile: path}},
	} {
		err := c.ReadSecrets()
		if !errors.Is(err, secretfile.ErrExposed) || !strings.Contains(err.Error(), option) || !strings.HasSuffix(err.Error(), ": chmod 600 "+path) {
			t.Errorf("%s: %v", option, err)
		}
		if c.CheckSecretFiles() == nil {
			t.Errorf("%s: gvlan config check says nothing", option)
		}
	}
	c := Config{Join: Join{TokenFile: path}}
	if _, err := c.JoinToken(); !errors.Is(err, secretfile.ErrExposed) {
		t.Errorf("the token is read: %v", err)
	}
}
