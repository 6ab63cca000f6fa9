package config

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gvlan/driver/bgp/peer"
)

// Config is what an agent is told. options.go says how each field is spelled,
// check.go what must hold between them.
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
	HostAccess      bool     // networks that say nothing have it
	RouteProtocol   Protocol // marks routes and neighbours that are the agent's
	Routes          string   // RoutesHosts or RoutesOff
	RoutesTable     Table    // of routes to other hosts' containers
	LogLevel        string   // debug, info, warn or error
	LogFormat       string   // text or json

	Metrics Metrics
	Web     Web
	Etcd    Etcd
	Join    Join
	Pools   Pools
	Gossip  Gossip
	DNS     DNS
	BGP     BGP

	Parents   Parents // from the file only
	SecretsIn string  // the configuration file, where it has secrets in it
}

// Protocol is a number of the kernel's by which routes are known (rt_protos).
type Protocol uint8

// Table is a number of the kernel's by which routing tables are known (rt_tables);
// 0 is main.
type Table uint32

// What --routes is.
const (
	RoutesHosts = "hosts" // networks that route have routes to other hosts' containers
	RoutesOff   = "off"   // this host has none
)

// Metrics says where Prometheus asks.
type Metrics struct {
	Listen  string // host:port; "": nowhere
	Profile bool   // serve Go's profiles there as well
}

// Web says where people look at the page, and who may.
type Web struct {
	Listen       string // host:port; "": nowhere but on the status socket
	Cert         string // PEM file; "": the agent makes its own where it serves TLS
	Key          string // PEM file
	Password     string
	PasswordFile string         // Password is read from it
	ProxyHeader  string         // in requests of ProxyFrom: a reverse proxy let them in
	ProxyFrom    []netip.Prefix // where that header is believed
}

// Loopback reports whether only this host reaches the page. A name may be that of any
// address.
func (w Web) Loopback() bool { return isLoopback(w.Listen) }

// isLoopback reports whether only this host reaches HOST:PORT, for sure.
func isLoopback(listen string) bool {
	at, err := netip.ParseAddrPort(listen)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// TLS reports whether the page is served with TLS: always where others reach it.
func (w Web) TLS() bool { return w.Cert != "" || !w.Loopback() }

// Etcd says which etcd holds the truth.
type Etcd struct {
	Endpoints    []string // of an existing cluster; none means the embedded one, or Join
	Prefix       string
	CA           string // PEM file
	Cert         string // PEM file
	Key          string // PEM file
	User         string
	Password     string
	PasswordFile string        // Password is read from it
	Listen       string        // host:port this host serves a member of the cluster's own store at; "" leaves that to `gvlan init`
	MemberGone   time.Duration // a member of it may be away before another host takes its place
}

// Join says which cluster to join, once, as `gvlan join` does.
type Join struct {
	Address   string // host or host:port of one of its members
	Token     string
	TokenFile string // Token is read from it
}

// Pools lists the blocks that networks without --subnet take theirs
// from.
type Pools struct {
	Default4 []Block
	Default6 []Block
}

// Block is address space that is given out in subnets of Bits each.
type Block struct {
	Base netip.Prefix
	Bits int
}

// Gossip says how this node tells the others that it is there.
type Gossip struct {
	On   bool
	Port uint16
}

// DNS says how names are served.
type DNS struct {
	On       bool
	Domain   string
	Listen   []string // host:port
	Upstream []string // host:port; none means that other domains are refused
	Allow    []netip.Prefix
	Update   Update
}

// Update says which DNS server of the LAN is told of this host's
// containers (RFC 2136).
type Update struct {
	Server     string // host:port; "" for none
	Zone       string
	Key        string // name of the TSIG key (RFC 8945); "" leaves updates unsigned
	Secret     string // base64
	SecretFile string // Secret is read from it
}

// BGP says with whom this host speaks BGP.
type BGP struct {
	AS     peer.AS // this host's; 0: it speaks with nobody
	Peers  []peer.Peer
	Import []netip.Prefix // inside of which routes of peers are taken
}

// Parents is what `-o parent=@host` means on this host: parent lists as
// in -o parent=, by network name, else the default.
type Parents struct {
	Default  string
	Networks map[string]string
}

// External reports whether an etcd that is not gvlan's holds what agents know.
func (c *Config) External() bool { return len(c.Etcd.Endpoints) > 0 }

// SwarmSuffix keeps a managed plugin and a socket agent on one host apart.
const SwarmSuffix = ".swarm"

// IsPlugin reports whether a node is a managed plugin, and no socket agent.
// Both may run on a host, each a node of its own: the one serves the swarm's
// networks only, the other all but those.
func IsPlugin(node string) bool { return strings.HasSuffix(node, SwarmSuffix) }

// SwarmSocket is what the managed plugin calls its status socket unless told
// otherwise, beside the socket agent's.
const SwarmSocket = "swarm.sock"

// PluginSocket is the file name Docker finds the plugin by. In a managed plugin
// it is what config.json says.
func (c *Config) PluginSocket() string {
	if c.Swarm {
		return "gvlan"
	}
	return c.DriverName
}

// EngineSocket is the file behind the unix:// address of the Engine API; others
// are refused by Check.
func (c *Config) EngineSocket() string { return strings.TrimPrefix(c.Docker, "unix://") }

// hostRoot is where a managed plugin, which has a root file system of its own
// and the host's process ids, finds the host's files: proc(5), root.
const hostRoot = "/proc/1/root"

// HostPath is a path of the host as this agent sees it. The usual link
// /var/run -> /run is followed by hand: the kernel would follow it into the
// plugin's own root.
func (c *Config) HostPath(path string) string {
	if !c.Swarm {
		return path
	}
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		path = "/run/" + rest
	}
	return filepath.Join(hostRoot, path)
}

// OnHost makes every path that a user gives one of the host's files.
func (c *Config) OnHost() {
	for _, path := range []*string{
		&c.DataDir, &c.Etcd.CA, &c.Etcd.Cert, &c.Etcd.Key, &c.Etcd.PasswordFile,
		&c.Join.TokenFile, &c.DNS.Update.SecretFile, &c.Web.Cert, &c.Web.Key, &c.Web.PasswordFile,
	} {
		if *path != "" {
			*path = c.HostPath(*path)
		}
	}
	c.BGP.Peers = slices.Clone(c.BGP.Peers)
	for i := range c.BGP.Peers {
		if file := &c.BGP.Peers[i].PasswordFile; *file != "" {
			*file = c.HostPath(*file)
		}
	}
}
