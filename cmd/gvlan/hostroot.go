package main

import (
	"path/filepath"
	"strings"
)

// hostRoot is where a managed plugin, which has a root file system of its own
// and the host's process ids, finds the host's files: proc(5), root.
const hostRoot = "/proc/1/root"

// root is where this agent finds the host's files; "" when they are its own.
func (c *Config) root() string {
	if c.Swarm {
		return hostRoot
	}
	return ""
}

// onHost makes every path that a user gives one of the host's files.
func (c *Config) onHost() {
	for _, path := range []*string{
		&c.DataDir, &c.Etcd.CA, &c.Etcd.Cert, &c.Etcd.Key, &c.Etcd.PasswordFile,
		&c.Join.TokenFile, &c.DNS.Update.SecretFile,
	} {
		if *path != "" {
			*path = hostPath(c.root(), *path)
		}
	}
}

// hostPath is a path of the host as this agent sees it. The usual link
// /var/run -> /run is followed by hand: the kernel would follow it into the
// plugin's own root.
func hostPath(root, path string) string {
	if root == "" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		path = "/run/" + rest
	}
	return filepath.Join(root, path)
}
