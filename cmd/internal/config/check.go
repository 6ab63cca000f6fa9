package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gvlan/cluster/store/authority"
	"gvlan/driver/bgp/peer"
	"gvlan/parentfile"
)

// Check says what in a configuration cannot be or does not go together. Each
// problem is one sentence; all are reported at once.
func (l *Settings) Check() error {
	c := &l.Config
	return errors.Join(
		c.checkHost(),
		c.checkLog(),
		l.checkTruth(),
		c.checkEtcdAccess(),
		l.checkListen(),
		c.Web.check(),
		c.checkNames(),
		c.checkBGP(),
		c.checkParents(),
	)
}

// What Docker and etcd keys take; a driver's name may carry a tag and a
// registry, as managed plugins do.
var (
	driverForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._/:-]*$`)
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

func (c *Config) checkHost() error {
	var problems []error
	if !driverForm.MatchString(c.DriverName) {
		problems = append(problems, fmt.Errorf("--driver-name %q: Docker wants lower-case letters, digits and ._-:/, for example gvlan", c.DriverName))
	}
	if c.Swarm && (c.DriverName == "gvlan" || c.DriverName == "gvlan:latest") {
		problems = append(problems, errors.New("--swarm with --driver-name gvlan: a managed plugin of that name hides the socket plugin from Docker; give for example gvlan-swarm:latest"))
	}
	if c.Swarm && !c.External() && c.Join.Address == "" {
		problems = append(problems, errors.New("--swarm without --etcd-endpoints or --join: each node of the swarm would give the same addresses; set GVLAN_ETCD_ENDPOINTS (docker plugin set) before enabling the plugin"))
	}
	if c.Routes != RoutesHosts && c.Routes != RoutesOff {
		problems = append(problems, fmt.Errorf("--routes %q: give hosts or off", c.Routes))
	}
	if c.NodeName != "" && !nameForm.MatchString(c.NodeName) {
		problems = append(problems, fmt.Errorf("--node-name %q: give up to 63 letters, digits and ._-", c.NodeName))
	}
	if !c.Swarm && IsPlugin(c.NodeName) {
		problems = append(problems, fmt.Errorf("--node-name %s: names that end in %s are those of managed plugins; give another", c.NodeName, SwarmSuffix))
	}
	for _, path := range []struct{ name, value string }{
		{"data-dir", c.DataDir}, {"plugin-socket-dir", c.PluginSocketDir}, {"status-socket", c.StatusSocket},
	} {
		if !filepath.IsAbs(path.value) {
			problems = append(problems, fmt.Errorf("--%s %q: give a path from the root, beginning with /", path.name, path.value))
		}
	}
	if u, err := url.Parse(c.Docker); err != nil || u.Scheme != "unix" || u.Path == "" {
		problems = append(problems, fmt.Errorf("--docker %q: give unix:///PATH, the socket of this host's own engine", c.Docker))
	}
	return errors.Join(append(problems, c.checkAdvertise())...)
}

// checkAdvertise looks at the form only; the interface may come later.
func (c *Config) checkAdvertise() error {
	if c.Advertise == "" {
		return nil
	}
	if addr, err := netip.ParseAddr(c.Advertise); err == nil {
		if addr.IsUnspecified() || addr.IsMulticast() {
			return fmt.Errorf("--advertise %s: other hosts cannot reach that address; give one of this host's own", addr)
		}
		return nil
	}
	if len(c.Advertise) > 15 || strings.ContainsAny(c.Advertise, "/ :") {
		return fmt.Errorf("--advertise %q: give an address or the name of an interface, for example eth0", c.Advertise)
	}
	return nil
}

func (c *Config) checkLog() error {
	var problems []error
	if levels := []string{"debug", "info", "warn", "error"}; !slices.Contains(levels, c.LogLevel) {
		problems = append(problems, fmt.Errorf("--log-level %q: give one of %s", c.LogLevel, strings.Join(levels, ", ")))
	}
	if formats := []string{"text", "json"}; !slices.Contains(formats, c.LogFormat) {
		problems = append(problems, fmt.Errorf("--log-format %q: give one of %s", c.LogFormat, strings.Join(formats, ", ")))
	}
	return errors.Join(problems...)
}

// checkTruth: there is one etcd, so it is named in one way.
func (l *Settings) checkTruth() error {
	c := &l.Config
	var problems []error
	clash := func(a, b bool, sentence string) {
		if a && b {
			problems = append(problems, errors.New(sentence))
		}
	}
	external, joins, listens := len(c.Etcd.Endpoints) > 0, c.Join.Address != "", c.Etcd.Listen != ""
	token := c.Join.Token != "" || c.Join.TokenFile != ""
	clash(external, joins, "--join with --etcd-endpoints: both say which etcd to use; give one")
	clash(external, listens, "--etcd-listen with --etcd-endpoints: an agent that uses an existing etcd has none of its own to serve; give one")
	clash(c.Swarm, listens, "--etcd-listen with --swarm: a managed plugin is a client of the store only")
	clash(joins, !token, "--join without --token or --token-file: give the one that `gvlan token show` prints on that host")
	clash(token, !joins, "--token or --token-file without --join: say whose it is")
	clash(c.Join.Token != "", c.Join.TokenFile != "", "--token with --token-file: give one")
	if c.Join.Token != "" {
		problems = append(problems, checkToken("token", c.Join.Token))
	}
	return errors.Join(problems...)
}

// checkEtcdAccess: certificates and passwords belong to --etcd-endpoints.
func (c *Config) checkEtcdAccess() error {
	var problems []error
	e := &c.Etcd
	password := e.Password != "" || e.PasswordFile != ""
	access := e.CA != "" || e.Cert != "" || e.Key != "" || e.User != "" || password
	if access && len(e.Endpoints) == 0 {
		problems = append(problems, errors.New("--etcd-ca, --etcd-cert, --etcd-key, --etcd-user or --etcd-password without --etcd-endpoints: they are for an existing etcd cluster"))
	}
	if (e.Cert == "") != (e.Key == "") {
		problems = append(problems, errors.New("--etcd-cert and --etcd-key: one is no use without the other"))
	}
	if (e.User == "") == password {
		problems = append(problems, errors.New("--etcd-user and --etcd-password (or --etcd-password-file): one is no use without the other"))
	}
	if e.Password != "" && e.PasswordFile != "" {
		problems = append(problems, errors.New("--etcd-password with --etcd-password-file: give one"))
	}
	if !strings.HasPrefix(e.Prefix, "/") || strings.HasSuffix(e.Prefix, "/") {
		problems = append(problems, fmt.Errorf("--etcd-prefix %q: give a key that begins with / and does not end with it, for example /gvlan/v1", e.Prefix))
	}
	for _, endpoint := range e.Endpoints {
		problems = append(problems, e.checkEndpoint(endpoint))
	}
	return errors.Join(problems...)
}

// checkEndpoint wants the scheme said: it decides whether the truth travels
// in the clear.
func (e *Etcd) checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("--etcd-endpoints %q: give https://HOST:PORT, or http://HOST:PORT for an etcd without TLS", endpoint)
	}
	if u.Scheme == "http" && (e.CA != "" || e.Cert != "") {
		return fmt.Errorf("--etcd-endpoints %s with --etcd-ca or --etcd-cert: http:// uses no certificates; give https://", endpoint)
	}
	return nil
}

func (l *Settings) checkListen() error {
	c := &l.Config
	var problems []error
	hostPort := func(name, value string) {
		if host, port, err := net.SplitHostPort(value); err != nil || host == "" || !isPort(port) {
			problems = append(problems, fmt.Errorf("--%s %q: give HOST:PORT", name, value))
		}
	}
	if c.Etcd.Listen != "" {
		problems = append(problems, c.checkEtcdListen())
	}
	if c.Join.Address != "" && strings.Contains(c.Join.Address, "/") {
		problems = append(problems, fmt.Errorf("--join %q: give HOST or HOST:PORT of a member", c.Join.Address))
	}
	if c.Metrics.Listen != "" {
		hostPort("metrics-listen", c.Metrics.Listen)
	}
	if c.Metrics.Profile && c.Metrics.Listen == "" {
		problems = append(problems, errors.New("--pprof without --metrics-listen: nothing would listen; give both"))
	}
	if c.Metrics.Profile && c.Metrics.Listen != "" && !isLoopback(c.Metrics.Listen) {
		problems = append(problems, fmt.Errorf("--pprof with --metrics-listen %s: others than this host could look into the agent and keep it busy; give an address as 127.0.0.1:9640, or leave --pprof out", c.Metrics.Listen))
	}
	for _, listen := range c.DNS.Listen {
		hostPort("dns-listen", listen)
	}
	for _, upstream := range c.DNS.Upstream {
		hostPort("dns-upstream", upstream)
	}
	if !c.DNS.On && l.chosen("dns-listen") {
		problems = append(problems, errors.New("--dns-listen with --dns off: nothing would listen; give one"))
	}
	return errors.Join(problems...)
}

// Names of a header as HTTP has them (RFC 9110, 5.6.2), and those that are in any
// browser's request, or that proxies add for whomever they pass on.
var (
	headerForm   = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	headersOfAll = []string{
		"accept", "accept-encoding", "accept-language", "authorization", "cache-control", "connection", "content-length", "content-type", "cookie",
		"dnt", "forwarded", "host", "if-none-match", "last-event-id", "origin", "pragma", "priority", "referer", "te", "transfer-encoding", "upgrade",
		"upgrade-insecure-requests", "user-agent", "via",
	}
	prefixesOfAll = []string{"sec-", "x-forwarded-", "x-real-"}
)

// check: the page is open to nobody who was not let in.
func (w *Web) check() error {
	password, proxy := w.Password != "" || w.PasswordFile != "", w.ProxyHeader != "" || len(w.ProxyFrom) > 0
	if w.Listen == "" {
		if password || proxy || w.Cert != "" || w.Key != "" {
			return errors.New("--web-cert, --web-key, --web-password, --web-proxy-header or --web-proxy-from without --web-listen: nothing would listen; give for example --web-listen 127.0.0.1:8470")
		}
		return nil
	}
	var problems []error
	host, port, err := net.SplitHostPort(w.Listen)
	switch {
	case err != nil || host == "" || !isPort(port):
		problems = append(problems, fmt.Errorf("--web-listen %q: give HOST:PORT, for example 127.0.0.1:8470", w.Listen))
	case !w.Loopback() && !password && !proxy:
		problems = append(problems, fmt.Errorf("--web-listen %s: others than this host may reach that address, and nothing would keep them out; give --web-password-file, or --web-proxy-header with --web-proxy-from, or listen on 127.0.0.1:%s", w.Listen, port))
	}
	if (w.Cert == "") != (w.Key == "") {
		problems = append(problems, errors.New("--web-cert and --web-key: one is no use without the other"))
	}
	if w.Password != "" && w.PasswordFile != "" {
		problems = append(problems, errors.New("--web-password with --web-password-file: give one"))
	}
	if w.Password != "" {
		problems = append(problems, checkPassword("web-password", w.Password))
	}
	return errors.Join(append(problems, w.checkProxy())...)
}

// checkProxy: what anybody's request has, and everybody's address, say nothing of who
// was let in.
func (w *Web) checkProxy() error {
	if (w.ProxyHeader == "") != (len(w.ProxyFrom) == 0) {
		return errors.New("--web-proxy-header and --web-proxy-from: one is no use without the other")
	}
	name := strings.ToLower(w.ProxyHeader)
	begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	switch {
	case name == "":
		return nil
	case !headerForm.MatchString(name):
		return fmt.Errorf("--web-proxy-header %q is no name of a header: give for example X-Remote-User", w.ProxyHeader)
	case slices.Contains(headersOfAll, name) || slices.ContainsFunc(prefixesOfAll, begins):
		return fmt.Errorf("--web-proxy-header %s: requests of people who were not let in have it as well; give one that only the proxy sets, for example X-Remote-User", w.ProxyHeader)
	case slices.ContainsFunc(w.ProxyFrom, func(p netip.Prefix) bool { return p.Bits() == 0 }):
		return errors.New("--web-proxy-from: a prefix of length 0 is everybody; give the address of the proxy, for example 192.168.1.5/32")
	}
	return nil
}

// shortestPassword is in bytes: guesses are slowed down (cmd/internal/web/door), and a
// shorter one is found all the same.
const shortestPassword = 8

// checkPassword refuses what is guessed; the error does not repeat it.
func checkPassword(option, password string) error {
	if len(password) < shortestPassword {
		return fmt.Errorf("--%s: the password has %d characters: give %d or more, as openssl rand -base64 18 prints them", option, len(password), shortestPassword)
	}
	return nil
}

// checkEtcdListen wants an address: the certificate of a member names it, and
// etcd listens on none that it has to look up. The two ports after it are used as
// well.
func (c *Config) checkEtcdListen() error {
	host, port, err := net.SplitHostPort(c.Etcd.Listen)
	number, portErr := parsePort(port)
	if err == nil && portErr == nil && number <= 65535-2 {
		if _, err := netip.ParseAddr(host); err == nil {
			return nil
		}
	}
	return fmt.Errorf("--etcd-listen %q: give an address of this host and a port up to 65533, for example 192.168.1.10:2379; the two ports after it are used as well", c.Etcd.Listen)
}

func isPort(text string) bool {
	_, err := parsePort(text)
	return err == nil
}

var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

func (c *Config) checkNames() error {
	if len(c.DNS.Domain) > 190 || !domainForm.MatchString(c.DNS.Domain) {
		return fmt.Errorf("--domain %q: give a domain in lower case without a final dot, for example gvlan.internal", c.DNS.Domain)
	}
	var problems []error
	for _, block := range append(slices.Clone(c.Pools.Default4), c.Pools.Default6...) {
		if is4 := slices.Contains(c.Pools.Default4, block); is4 != block.Base.Addr().Is4() {
			problems = append(problems, fmt.Errorf("--default-pools is for IPv4 and --default-pools6 for IPv6: %s is in the wrong one", block.Base))
		}
	}
	return errors.Join(problems...)
}

// checkBGP: a host speaks as somebody, with somebody.
func (c *Config) checkBGP() error {
	peers := c.BGP.Peers
	switch {
	case c.BGP.AS != 0 && len(peers) == 0:
		return errors.New("--bgp-as without --bgp-peer: nobody would be told anything; give both")
	case c.BGP.AS == 0 && len(peers) > 0:
		return errors.New("--bgp-peer without --bgp-as: say which AS this host speaks as, for example 65001")
	case len(c.BGP.Import) > 0 && len(peers) == 0:
		return errors.New("--bgp-import without --bgp-peer: nobody would tell this host of routes; give both")
	}
	for i, p := range peers {
		if slices.ContainsFunc(peers[:i], func(other peer.Peer) bool { return other.Address.Addr() == p.Address.Addr() }) {
			return fmt.Errorf("--bgp-peer %s is given twice: one session with a router is enough", p.Address.Addr())
		}
	}
	return nil
}

// checkParents refuses parent lists that no host could use.
func (c *Config) checkParents() error {
	var problems []error
	refuse := func(key, text string) {
		list, err := parentfile.Parse(text)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
		case list.Empty():
			problems = append(problems, fmt.Errorf("%s: the list is empty; give for example \"bond0, eth0\"", key))
		case list.NeedsHost():
			problems = append(problems, fmt.Errorf("%s: @host means this very table; name interfaces", key))
		}
	}
	if c.Parents.Default != "" {
		refuse(parentsDefaultKey, c.Parents.Default)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Parents.Networks)) {
		refuse(parentsNetworksKey+name, c.Parents.Networks[name])
	}
	return errors.Join(problems...)
}

// checkToken refuses what no agent ever printed. The error names the option
// and never the token.
func checkToken(option, token string) error {
	if _, err := authority.ParseToken(token); err != nil {
		return fmt.Errorf("--%s: %w", option, err)
	}
	return nil
}
