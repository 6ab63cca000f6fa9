package agent

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"gvlan/cmd/internal/config"
)

// identity is who this agent is, apart from where it is reached.
type identity struct {
	Node    string // name in the cluster
	Install string // uuid of the data directory
	Boot    string // uuid of this boot of the host
	Host    string // host name, for people
}

var machineIDForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// identify reads the rest of an identity from the host; root is the root of
// its file system.
func identify(c config.Config, install, host string, root fs.FS) (identity, error) {
	boot, err := fs.ReadFile(root, "proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, fmt.Errorf("read the boot id: %w", err)
	}
	node := c.NodeName
	if node == "" {
		if node, err = machineID(root); err != nil {
			return identity{}, err
		}
	}
	if c.Swarm && !strings.HasSuffix(node, config.SwarmSuffix) {
		node += config.SwarmSuffix
	}
	return identity{Node: node, Install: install, Boot: strings.TrimSpace(string(boot)), Host: host}, nil
}

// machineID reads machine-id(5).
func machineID(root fs.FS) (string, error) {
	text, err := fs.ReadFile(root, "etc/machine-id")
	if err != nil {
		return "", fmt.Errorf("read the machine id (or give --node-name): %w", err)
	}
	id := strings.TrimSpace(string(text))
	if !machineIDForm.MatchString(id) {
		return "", fmt.Errorf("/etc/machine-id says %q, which is no machine id: run systemd-machine-id-setup, or give --node-name", id)
	}
	return id, nil
}
