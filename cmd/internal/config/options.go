package config

import "strings"

// option is one setting of the agent: the one source of its flag, its
// environment variable, its key in the file and its line in the documents.
type option struct {
	Name   string // of the flag and of the key in the file
	preset string // default, spelled as on the command line
	usage  string // one line; `quoted` is the placeholder of its value
	secret bool   // never printed
	field  func(*Config) any
}

// env is the name of the option's environment variable.
func (o option) env() string {
	return "GVLAN_" + strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_"))
}

// bare reports whether the flag alone, without a value, switches the option on.
func (o option) bare() bool {
	_, isBool := o.field(new(Config)).(*bool)
	return isBool && o.preset == "off"
}

// options is every setting, in the order the documents list them.
func options() []option {
	var all []option
	all = append(all, hostOptions()...)
	all = append(all, webOptions()...)
	all = append(all, etcdOptions()...)
	all = append(all, joinOptions()...)
	all = append(all, poolOptions()...)
	all = append(all, nameOptions()...)
	return append(all, bgpOptions()...)
}

func hostOptions() []option {
	return []option{
		{Name: "driver-name", preset: "gvlan", usage: "`NAME` Docker knows this driver by (docker network create -d NAME); gvlan-swarm:latest with --swarm",
			field: func(c *Config) any { return &c.DriverName }},
		{Name: "node-name", usage: "`NAME` of this host in the cluster, unique; default is /etc/machine-id",
			field: func(c *Config) any { return &c.NodeName }},
		{Name: "data-dir", preset: "/var/lib/gvlan", usage: "`FOLDER` of the journal and the embedded etcd; one agent at a time",
			field: func(c *Config) any { return &c.DataDir }},
		{Name: "plugin-socket-dir", preset: "/run/docker/plugins", usage: "`FOLDER` in which Docker looks for the plugin's socket",
			field: func(c *Config) any { return &c.PluginSocketDir }},
		{Name: "status-socket", preset: "/run/gvlan/gvlan.sock", usage: "`PATH` of the socket operator commands ask; /run/gvlan/swarm.sock with --swarm",
			field: func(c *Config) any { return &c.StatusSocket }},
		{Name: "docker", preset: "unix:///var/run/docker.sock", usage: "`URL` of this host's Docker Engine API, unix:///PATH",
			field: func(c *Config) any { return &c.Docker }},
		{Name: "advertise", usage: "`ADDRESS|INTERFACE` of this host by which others reach it; default is the source address towards etcd",
			field: func(c *Config) any { return &c.Advertise }},
		{Name: "swarm", preset: "off", usage: "run as the managed plugin of a swarm node",
			field: func(c *Config) any { return &c.Swarm }},
		{Name: "boot-wait", preset: "90s", usage: "`DURATION` systemd holds docker.service back for etcd to answer",
			field: func(c *Config) any { return &c.BootWait }},
		{Name: "restart-failed", preset: "off", usage: "start containers again whose start failed because etcd was away",
			field: func(c *Config) any { return &c.RestartFailed }},
		{Name: "host-access", preset: "off", usage: "let this host and its own containers reach each other, on networks that say nothing of it",
			field: func(c *Config) any { return &c.HostAccess }},
		{Name: "route-protocol", preset: "118", usage: "`NUMBER` that marks the routes and neighbours that are gvlan's, from 64 to 255; no other daemon's; 119 with --swarm",
			field: func(c *Config) any { return &c.RouteProtocol }},
		{Name: "routes", preset: RoutesHosts, usage: "`hosts|off`: make routes to the containers that other hosts have on networks that route (ipvlan l3, l3s)",
			field: func(c *Config) any { return &c.Routes }},
		{Name: "routes-table", preset: "main", usage: "`main|NUMBER` of the kernel's routing table that those routes go into",
			field: func(c *Config) any { return &c.RoutesTable }},
		{Name: "log-level", preset: "info", usage: "`LEVEL` from which on lines are logged: debug, info, warn, error",
			field: func(c *Config) any { return &c.LogLevel }},
		{Name: "log-format", preset: "text", usage: "`FORMAT` of the log on stderr: text, json",
			field: func(c *Config) any { return &c.LogFormat }},
		{Name: "metrics-listen", usage: "`HOST:PORT` to serve metrics, /healthz and /readyz on, to whoever reaches it; none: off",
			field: func(c *Config) any { return &c.Metrics.Listen }},
		{Name: "pprof", preset: "off", usage: "serve Go's profiles on --metrics-listen as well, which has to be a loopback address",
			field: func(c *Config) any { return &c.Metrics.Profile }},
	}
}

func webOptions() []option {
	return []option{
		{Name: "web-listen", usage: "`HOST:PORT` to serve the page on, 127.0.0.1:8470 for this host alone; another address wants a password or a proxy, and has TLS; none: off, gvlan web shows it",
			field: func(c *Config) any { return &c.Web.Listen }},
		{Name: "web-cert", usage: "PEM `FILE` with the certificate of --web-listen, read again when it changes; the agent makes its own without it",
			field: func(c *Config) any { return &c.Web.Cert }},
		{Name: "web-key", usage: "PEM `FILE` with the key of --web-cert, which nobody else may read",
			field: func(c *Config) any { return &c.Web.Key }},
		{Name: "web-password", secret: true, usage: "`PASSWORD` that lets people in at --web-listen, with any user name; better --web-password-file",
			field: func(c *Config) any { return &c.Web.Password }},
		{Name: "web-password-file", usage: "`FILE` whose content is that password, which nobody else may read",
			field: func(c *Config) any { return &c.Web.PasswordFile }},
		{Name: "web-proxy-header", usage: "`NAME` of the header by which a reverse proxy says whom it let in, as X-Remote-User",
			field: func(c *Config) any { return &c.Web.ProxyHeader }},
		{Name: "web-proxy-from", usage: "`PREFIX,...` of the proxy: the header is believed from there only, as 192.168.1.5/32",
			field: func(c *Config) any { return &c.Web.ProxyFrom }},
	}
}

func etcdOptions() []option {
	return []option{
		{Name: "etcd-endpoints", usage: "`URL,...` of an existing etcd cluster",
			field: func(c *Config) any { return &c.Etcd.Endpoints }},
		{Name: "etcd-prefix", preset: "/gvlan/v1", usage: "`KEY` all of this cluster's keys are under",
			field: func(c *Config) any { return &c.Etcd.Prefix }},
		{Name: "etcd-ca", usage: "PEM `FILE` with the authority that signed the cluster's certificates",
			field: func(c *Config) any { return &c.Etcd.CA }},
		{Name: "etcd-cert", usage: "PEM `FILE` with this client's certificate",
			field: func(c *Config) any { return &c.Etcd.Cert }},
		{Name: "etcd-key", usage: "PEM `FILE` with the key of --etcd-cert, which nobody else may read",
			field: func(c *Config) any { return &c.Etcd.Key }},
		{Name: "etcd-user", usage: "`NAME` to log in to the cluster with",
			field: func(c *Config) any { return &c.Etcd.User }},
		{Name: "etcd-password", secret: true, usage: "`PASSWORD` of --etcd-user; better --etcd-password-file",
			field: func(c *Config) any { return &c.Etcd.Password }},
		{Name: "etcd-password-file", usage: "`FILE` whose content is the password of --etcd-user, which nobody else may read",
			field: func(c *Config) any { return &c.Etcd.PasswordFile }},
	}
}

func joinOptions() []option {
	return []option{
		{Name: "etcd-listen", usage: "`HOST:PORT` of this host at which it serves a member of the store, with TLS, and the two ports after it; a host that is of no cluster begins one, as gvlan init does",
			field: func(c *Config) any { return &c.Etcd.Listen }},
		{Name: "member-gone", preset: "10m", usage: "`DURATION` a member of the store may be away before another host takes its place",
			field: func(c *Config) any { return &c.Etcd.MemberGone }},
		{Name: "join", usage: "`HOST[:PORT]` of a member of the cluster to join, once, as gvlan join does",
			field: func(c *Config) any { return &c.Join.Address }},
		{Name: "token", secret: true, usage: "`TOKEN` to join with, as gvlan token show prints it; better --token-file",
			field: func(c *Config) any { return &c.Join.Token }},
		{Name: "token-file", usage: "`FILE` whose content is the token, which nobody else may read",
			field: func(c *Config) any { return &c.Join.TokenFile }},
		{Name: "gossip", preset: "on", usage: "`on|off`: tell the other nodes directly that this one is alive; off only delays what they show",
			field: func(c *Config) any { return &c.Gossip.On }},
		{Name: "gossip-port", preset: "7947", usage: "UDP and TCP `PORT` nodes tell each other on",
			field: func(c *Config) any { return &c.Gossip.Port }},
	}
}

func poolOptions() []option {
	return []option{
		{Name: "default-pools", preset: "172.18.0.0/15:16,172.20.0.0/14:16,172.24.0.0/13:16",
			usage: "`PREFIX:BITS,...` from which networks without --subnet take subnets of BITS",
			field: func(c *Config) any { return &c.Pools.Default4 }},
		{Name: "default-pools6",
			usage: "`PREFIX:BITS,...` the same for --ipv6; default is /64s of a /48 below fd00::/8 that is drawn from the cluster's uuid",
			field: func(c *Config) any { return &c.Pools.Default6 }},
	}
}

func nameOptions() []option {
	return []option{
		{Name: "dns", preset: "on", usage: "`on|off`: resolve the names of containers",
			field: func(c *Config) any { return &c.DNS.On }},
		{Name: "domain", preset: "gvlan.internal", usage: "`DOMAIN` of all names: CONTAINER.NETWORK.DOMAIN",
			field: func(c *Config) any { return &c.DNS.Domain }},
		{Name: "dns-listen", preset: "127.0.0.1:5354", usage: "`HOST:PORT,...` to answer this host and the LAN on, UDP and TCP",
			field: func(c *Config) any { return &c.DNS.Listen }},
		{Name: "dns-upstream", usage: "`HOST:PORT,...` to ask about other domains, for queries to --dns-listen; none refuses them",
			field: func(c *Config) any { return &c.DNS.Upstream }},
		{Name: "dns-allow", preset: "127.0.0.0/8,::1/128", usage: "`PREFIX,...` whose queries to --dns-listen are answered",
			field: func(c *Config) any { return &c.DNS.Allow }},
		{Name: "dns-update-server", usage: "`HOST:PORT` of a DNS server of the LAN that is told of this host's containers (RFC 2136)",
			field: func(c *Config) any { return &c.DNS.Update.Server }},
		{Name: "dns-update-zone", usage: "`ZONE` on that server the names go to",
			field: func(c *Config) any { return &c.DNS.Update.Zone }},
		{Name: "dns-update-key", usage: "`NAME` of the TSIG key that signs the updates",
			field: func(c *Config) any { return &c.DNS.Update.Key }},
		{Name: "dns-update-secret-file", usage: "`PATH` of the file with the key's secret in base64, which nobody else may read",
			field: func(c *Config) any { return &c.DNS.Update.SecretFile }},
	}
}

func bgpOptions() []option {
	return []option{
		{Name: "bgp-as", usage: "`NUMBER` of the AS this host speaks BGP as, with --bgp-peer; none: it does not",
			field: func(c *Config) any { return &c.BGP.AS }},
		{Name: "bgp-peer", usage: "`ADDRESS[:PORT],AS[,FILE]` of a router that is told where this host's containers are, FILE having the password of the session (RFC 2385); may be repeated, or several with ; between them",
			field: func(c *Config) any { return &c.BGP.Peers }},
		{Name: "bgp-import", usage: "`PREFIX,...` inside of which this host takes routes from its peers; none: it takes none",
			field: func(c *Config) any { return &c.BGP.Import }},
	}
}
