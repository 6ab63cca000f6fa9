package main

import (
	"net/netip"
	"time"
)

// Config is what an agent is told. options.go says how each field is spelled,
// config_check.go what must hold between them.
type Config struct {
	DriverName      string
	NodeName        string // "" means the machine id
	DataDir         string
	PluginSocketDir string
	StatusSocket    string
	Docker          string // unix:// address of the Engine API
	Advertise       string // address or interface; "" means the kernel's choice
	Swarm           bool   // this is the managed plugin of a swarm node
	BootWait        time.Duration
	RestartFailed   bool
	LogLevel        string // debug, info, warn or error
	LogFormat       string // text or json

	Etcd   EtcdConfig
	Join   JoinConfig
	Pools  PoolConfig
	Gossip GossipConfig
	DNS    DNSConfig

	Parents ParentConfig // from the file only
}

// EtcdConfig says which etcd holds the truth.
type EtcdConfig struct {
	Endpoints    []string // of an existing cluster; none means the embedded one, or Join
	Prefix       string
	CA           string // PEM file
	Cert         string // PEM file
	Key          string // PEM file
	User         string
	Password     string
	PasswordFile string // Password is read from it
	Listen       string // host:port the embedded etcd serves other hosts on; "" keeps it to this host
	Insecure     bool   // Listen without TLS
}

// JoinConfig says whose embedded etcd to use.
type JoinConfig struct {
	Address   string // host:port
	Token     string
	TokenFile string // Token is read from it
}

// PoolConfig lists the blocks that networks without --subnet take theirs
// from.
type PoolConfig struct {
	Default4 []Block
	Default6 []Block
}

// Block is address space that is given out in subnets of Bits each.
type Block struct {
	Base netip.Prefix
	Bits int
}

// GossipConfig says how this node tells the others that it is there.
type GossipConfig struct {
	On   bool
	Port uint16
}

// DNSConfig says how names are served.
type DNSConfig struct {
	On       bool
	Domain   string
	Listen   []string // host:port
	Upstream []string // host:port; none means that other domains are refused
	Allow    []netip.Prefix
	Update   UpdateConfig
}

// UpdateConfig says which DNS server of the LAN is told of this host's
// containers (RFC 2136).
type UpdateConfig struct {
	Server     string // host:port; "" for none
	Zone       string
	Key        string // name of the TSIG key (RFC 8945); "" leaves updates unsigned
	Secret     string // base64
	SecretFile string // Secret is read from it
}

// ParentConfig is what `-o parent=@host` means on this host: parent lists as
// in -o parent=, by network name, else the default.
type ParentConfig struct {
	Default  string
	Networks map[string]string
}

// mode is where this agent's truth is kept.
type mode string

const (
	modeSolo     mode = "solo"     // embedded etcd, this host only
	modeListen   mode = "listen"   // embedded etcd, other hosts may join
	modeJoin     mode = "join"     // the embedded etcd of another host
	modeExternal mode = "external" // an existing etcd cluster
)

// mode derives from which of the three ways was given.
func (c *Config) mode() mode {
	switch {
	case len(c.Etcd.Endpoints) > 0:
		return modeExternal
	case c.Join.Address != "":
		return modeJoin
	case c.Etcd.Listen != "":
		return modeListen
	}
	return modeSolo
}

// explain says in a sentence what the mode means for the user.
func (m mode) explain() string {
	switch m {
	case modeListen:
		return "serves its own etcd to other hosts"
	case modeJoin:
		return "uses the etcd of the host it joins"
	case modeExternal:
		return "uses an existing etcd cluster"
	}
	return "is solo: its networks and addresses are known to this host only, until others join it (--etcd-listen) or it joins others (--join, --etcd-endpoints)"
}
