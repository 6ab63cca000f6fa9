package main

import "strings"

// option is one setting of the agent: the one source of its flag, its
// environment variable, its key in the file and its line in the documents.
type option struct {
	name   string // of the flag and of the key in the file
	preset string // default, spelled as on the command line
	usage  string // one line; `quoted` is the placeholder of its value
	secret bool   // never printed
	field  func(*Config) any
}

// env is the name of the option's environment variable.
func (o option) env() string {
	return "GVLAN_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))
}

// bare tells whether the flag alone, without a value, switches the option on.
func (o option) bare() bool {
	_, isBool := o.field(new(Config)).(*bool)
	return isBool && o.preset == "off"
}

// options is every setting, in the order the documents list them.
func options() []option {
	var all []option
	all = append(all, hostOptions()...)
	all = append(all, etcdOptions()...)
	all = append(all, joinOptions()...)
	all = append(all, poolOptions()...)
	return append(all, nameOptions()...)
}

func hostOptions() []option {
	return []option{
		{name: "driver-name", preset: "gvlan", usage: "`NAME` Docker knows this driver by (docker network create -d NAME); gvlan-swarm:latest with --swarm",
			field: func(c *Config) any { return &c.DriverName }},
		{name: "node-name", usage: "`NAME` of this host in the cluster, unique; default is /etc/machine-id",
			field: func(c *Config) any { return &c.NodeName }},
		{name: "data-dir", preset: "/var/lib/gvlan", usage: "`FOLDER` of the journal and the embedded etcd; one agent at a time",
			field: func(c *Config) any { return &c.DataDir }},
		{name: "plugin-socket-dir", preset: "/run/docker/plugins", usage: "`FOLDER` in which Docker looks for the plugin's socket",
			field: func(c *Config) any { return &c.PluginSocketDir }},
		{name: "status-socket", preset: "/run/gvlan/gvlan.sock", usage: "`PATH` of the socket operator commands ask; /run/gvlan/swarm.sock with --swarm",
			field: func(c *Config) any { return &c.StatusSocket }},
		{name: "docker", preset: "unix:///var/run/docker.sock", usage: "`URL` of this host's Docker Engine API, unix:///PATH",
			field: func(c *Config) any { return &c.Docker }},
		{name: "advertise", usage: "`ADDRESS|INTERFACE` other hosts reach this one by; default is the source address towards etcd",
			field: func(c *Config) any { return &c.Advertise }},
		{name: "swarm", preset: "off", usage: "run as the managed plugin of a swarm node",
			field: func(c *Config) any { return &c.Swarm }},
		{name: "boot-wait", preset: "90s", usage: "`DURATION` systemd holds docker.service back for etcd to answer",
			field: func(c *Config) any { return &c.BootWait }},
		{name: "restart-failed", preset: "off", usage: "start containers again whose start failed because etcd was away",
			field: func(c *Config) any { return &c.RestartFailed }},
		{name: "log-level", preset: "info", usage: "`LEVEL` from which on lines are logged: debug, info, warn, error",
			field: func(c *Config) any { return &c.LogLevel }},
		{name: "log-format", preset: "text", usage: "`FORMAT` of the log on stderr: text, json",
			field: func(c *Config) any { return &c.LogFormat }},
	}
}

func etcdOptions() []option {
	return []option{
		{name: "etcd-endpoints", usage: "`URL,...` of an existing etcd cluster",
			field: func(c *Config) any { return &c.Etcd.Endpoints }},
		{name: "etcd-prefix", preset: "/gvlan/v1", usage: "`KEY` all of this cluster's keys are under",
			field: func(c *Config) any { return &c.Etcd.Prefix }},
		{name: "etcd-ca", usage: "PEM `FILE` with the authority that signed the cluster's certificates",
			field: func(c *Config) any { return &c.Etcd.CA }},
		{name: "etcd-cert", usage: "PEM `FILE` with this client's certificate",
			field: func(c *Config) any { return &c.Etcd.Cert }},
		{name: "etcd-key", usage: "PEM `FILE` with the key of --etcd-cert",
			field: func(c *Config) any { return &c.Etcd.Key }},
		{name: "etcd-user", usage: "`NAME` to log in to the cluster with",
			field: func(c *Config) any { return &c.Etcd.User }},
		{name: "etcd-password", secret: true, usage: "`PASSWORD` of --etcd-user; better --etcd-password-file",
			field: func(c *Config) any { return &c.Etcd.Password }},
		{name: "etcd-password-file", usage: "`FILE` whose content is the password of --etcd-user",
			field: func(c *Config) any { return &c.Etcd.PasswordFile }},
	}
}

func joinOptions() []option {
	return []option{
		{name: "etcd-listen", usage: "`HOST:PORT` to serve the embedded etcd to other hosts on, with TLS; prints the line they join with",
			field: func(c *Config) any { return &c.Etcd.Listen }},
		{name: "etcd-insecure", preset: "off", usage: "serve --etcd-listen without TLS: whoever reaches the port rules the cluster",
			field: func(c *Config) any { return &c.Etcd.Insecure }},
		{name: "join", usage: "`HOST:PORT` of an agent that runs with --etcd-listen",
			field: func(c *Config) any { return &c.Join.Address }},
		{name: "token", secret: true, usage: "`TOKEN` that agent printed; better --token-file",
			field: func(c *Config) any { return &c.Join.Token }},
		{name: "token-file", usage: "`FILE` whose content is the token",
			field: func(c *Config) any { return &c.Join.TokenFile }},
		{name: "gossip", preset: "on", usage: "`on|off`: tell the other nodes directly that this one is alive; off only delays what they show",
			field: func(c *Config) any { return &c.Gossip.On }},
		{name: "gossip-port", preset: "7947", usage: "UDP and TCP `PORT` nodes tell each other on",
			field: func(c *Config) any { return &c.Gossip.Port }},
	}
}

func poolOptions() []option {
	return []option{
		{name: "default-pools", preset: "172.18.0.0/15:16,172.20.0.0/14:16,172.24.0.0/13:16",
			usage: "`PREFIX:BITS,...` from which networks without --subnet take subnets of BITS",
			field: func(c *Config) any { return &c.Pools.Default4 }},
		{name: "default-pools6",
			usage: "`PREFIX:BITS,...` the same for --ipv6; default is /64s of a /48 below fd00::/8 that is drawn from the cluster's uuid",
			field: func(c *Config) any { return &c.Pools.Default6 }},
	}
}

func nameOptions() []option {
	return []option{
		{name: "dns", preset: "on", usage: "`on|off`: resolve the names of containers",
			field: func(c *Config) any { return &c.DNS.On }},
		{name: "domain", preset: "gvlan.internal", usage: "`DOMAIN` of all names: CONTAINER.NETWORK.DOMAIN",
			field: func(c *Config) any { return &c.DNS.Domain }},
		{name: "dns-listen", preset: "127.0.0.1:5354", usage: "`HOST:PORT,...` to answer this host and the LAN on, UDP and TCP",
			field: func(c *Config) any { return &c.DNS.Listen }},
		{name: "dns-upstream", usage: "`HOST:PORT,...` to ask about other domains, for queries to --dns-listen; none refuses them",
			field: func(c *Config) any { return &c.DNS.Upstream }},
		{name: "dns-allow", preset: "127.0.0.0/8,::1/128", usage: "`PREFIX,...` whose queries to --dns-listen are answered",
			field: func(c *Config) any { return &c.DNS.Allow }},
		{name: "dns-update-server", usage: "`HOST:PORT` of a DNS server of the LAN that is told of this host's containers (RFC 2136)",
			field: func(c *Config) any { return &c.DNS.Update.Server }},
		{name: "dns-update-zone", usage: "`ZONE` on that server the names go to",
			field: func(c *Config) any { return &c.DNS.Update.Zone }},
		{name: "dns-update-key", usage: "`NAME` of the TSIG key that signs the updates",
			field: func(c *Config) any { return &c.DNS.Update.Key }},
		{name: "dns-update-secret-file", usage: "`PATH` of the file with the key's secret in base64",
			field: func(c *Config) any { return &c.DNS.Update.SecretFile }},
	}
}
