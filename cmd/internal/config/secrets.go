package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"gvlan/cmd/internal/secretfile"
)

// SecretFile is a file that nobody but root may read, and the option that names it.
type SecretFile struct {
	Option string // without --
	Path   string
}

// SecretFiles are those that the settings name, and the configuration file where
// secrets stand in it.
func (c *Config) SecretFiles() []SecretFile {
	all := []SecretFile{
		{"config", c.SecretsIn}, {"token-file", c.Join.TokenFile}, {"etcd-password-file", c.Etcd.PasswordFile}, {"etcd-key", c.Etcd.Key},
		{"dns-update-secret-file", c.DNS.Update.SecretFile}, {"web-password-file", c.Web.PasswordFile}, {"web-key", c.Web.Key},
	}
	for _, p := range c.BGP.Peers {
		all = append(all, SecretFile{"bgp-peer", p.PasswordFile})
	}
	var named []SecretFile
	for _, file := range all {
		if file.Path != "" {
			named = append(named, file)
		}
	}
	return named
}

// CheckSecretFiles refuses those that are not root's alone (secretfile.ErrExposed) or
// no files at all. One that is not there is for who reads it: a token is needed once.
func (c *Config) CheckSecretFiles() error {
	var problems []error
	for _, file := range c.SecretFiles() {
		if err := secretfile.Check(file.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("--%s: %w", file.Option, err))
		}
	}
	return errors.Join(problems...)
}

// ReadSecrets replaces the *-file settings by the files' content, but for the
// token: a host that has joined needs none, and its file may be gone. A file that is
// not root's alone is refused, and so is a configuration file with secrets in it.
func (c *Config) ReadSecrets() error {
	problems := []error{
		c.checkOwn(),
		readSecret("etcd-password-file", c.Etcd.PasswordFile, &c.Etcd.Password),
		readSecret("dns-update-secret-file", c.DNS.Update.SecretFile, &c.DNS.Update.Secret),
		c.Web.readPassword(),
	}
	for i := range c.BGP.Peers {
		var err error
		c.BGP.Peers[i].Password, err = c.BGP.Peers[i].Secret(secretfile.Read)
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// checkOwn judges the files whose content is not read here.
func (c *Config) checkOwn() error {
	var problems []error
	if c.SecretsIn != "" {
		if err := secretfile.Check(c.SecretsIn); err != nil {
			problems = append(problems, fmt.Errorf("the configuration has a password or a token in it: %w", err))
		}
	}
	if c.Etcd.Key != "" {
		if err := secretfile.Check(c.Etcd.Key); err != nil {
			problems = append(problems, fmt.Errorf("read --etcd-key: %w", err))
		}
	}
	return errors.Join(problems...)
}

// JoinToken is the token to join with, read anew where it is in a file.
func (c *Config) JoinToken() (string, error) {
	token := c.Join.Token
	if err := readSecret("token-file", c.Join.TokenFile, &token); err != nil || c.Join.TokenFile == "" {
		return token, err
	}
	return token, checkToken("token-file", token)
}

// readPassword reads the page's password from its file.
func (w *Web) readPassword() error {
	const option = "web-password-file"
	if w.PasswordFile == "" {
		return nil
	}
	if err := readSecret(option, w.PasswordFile, &w.Password); err != nil {
		return err
	}
	return checkPassword(option, w.Password)
}

func readSecret(name, path string, into *string) error {
	if path == "" {
		return nil
	}
	text, err := secretfile.Read(path)
	if err != nil {
		return fmt.Errorf("read --%s: %w", name, err)
	}
	*into = strings.TrimSpace(string(text))
	if *into == "" {
		return fmt.Errorf("read --%s: %s is empty", name, path)
	}
	return nil
}
