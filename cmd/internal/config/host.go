package config

import (
	"path/filepath"
	"strings"
)

// IsPlugin tells a managed plugin from a socket agent. Both may run on a host,
// each a node of its own: the one serves the swarm's networks only, the other
// all but those.
func IsPlugin(node string) bool { return strings.HasSuffix(node, SwarmSuffix) }

// hostRoot is where a managed plugin, which has a root file system of its own
// and the host's process ids, finds the host's files: proc(5), root.
const hostRoot = "/proc/1/root"

// Root is where this agent finds the host's files; "" when they are its own.
func (c *Config) Root() string {
	if c.Swarm {
		return hostRoot
	}
	return ""
}

// OnHost makes every path that a user gives one of the host's files.
func (c *Config) OnHost() {
	for _, path := range []*string{
		&c.DataDir, &c.Etcd.CA, &c.Etcd.Cert, &c.Etcd.Key, &c.Etcd.PasswordFile,
		&c.Join.TokenFile, &c.DNS.Update.SecretFile,
	} {
		if *path != "" {
			*path = HostPath(c.Root(), *path)
		}
	}
}

// HostPath is a path of the host as this agent sees it. The usual link
// /var/run -> /run is followed by hand: the kernel would follow it into the
// plugin's own root.
func HostPath(root, path string) string {
	if root == "" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		path = "/run/" + rest
	}
	return filepath.Join(root, path)
}

// SwarmSuffix keeps a managed plugin and a socket agent on one host apart.
const SwarmSuffix = ".swarm"

// SwarmSocket is what the managed plugin calls its status socket unless told
// otherwise, beside the socket agent's.
const SwarmSocket = "swarm.sock"
