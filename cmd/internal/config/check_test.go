package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// loadFrom loads settings from command-line words alone.
func loadFrom(t *testing.T, words ...string) Settings {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(words); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(flags, []string{"GVLAN_CONFIG=/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// goodToken has the form of a token.
const goodToken = "gvlan1-aaisem2ekvthpcezvk54zxpo74abcirtirkwm54itgvlxtg5537q-abcdefghijklmnopqrstuvwxyy"

func TestContradictions(t *testing.T) {
	tests := []struct {
		name  string
		words string
		want  string // "" means valid
	}{
		{name: "defaults"},
		{name: "listen", words: "--etcd-listen 0.0.0.0:2379"},
		{name: "listen on IPv6", words: "--etcd-listen [::]:2379"},
		{name: "join", words: "--join 10.0.0.1:2379 --token " + goodToken},
		{name: "join by the default port", words: "--join 10.0.0.1 --token " + goodToken},
		{name: "join, and serve a member somewhere", words: "--join 10.0.0.1:2379 --token " + goodToken + " --etcd-listen 0.0.0.0:2379"},
		{name: "existing cluster", words: "--etcd-endpoints https://10.0.0.1:2379,https://[fd00::1]:2379 --etcd-ca ca.pem --etcd-cert c.pem --etcd-key k.pem --etcd-user u --etcd-password p"},
		{name: "swarm", words: "--swarm --etcd-endpoints http://10.0.0.1:2379"},
		{name: "dns off", words: "--dns off --gossip off"},
		{name: "metrics", words: "--metrics-listen 127.0.0.1:9640 --pprof"},
		{name: "advertise an interface", words: "--advertise bond0.65"},

		{name: "join and endpoints", words: "--join 10.0.0.1:2379 --token " + goodToken + " --etcd-endpoints http://10.0.0.1:2379", want: "--join with --etcd-endpoints"},
		{name: "join by a URL", words: "--join https://10.0.0.1 --token " + goodToken, want: `--join "https://10.0.0.1": give HOST or HOST:PORT`},
		{name: "join without a token", words: "--join 10.0.0.1:2379", want: "--join without --token"},
		{name: "token that was cut off", words: "--join 10.0.0.1:2379 --token abc", want: "--token: not a token that gvlan printed"},
		{name: "token without join", words: "--token " + goodToken, want: "without --join"},
		{name: "two tokens", words: "--join 10.0.0.1:2379 --token " + goodToken + " --token-file f", want: "--token with --token-file"},
		{name: "a plugin that listens", words: "--swarm --join 10.0.0.1 --token " + goodToken + " --etcd-listen 0.0.0.0:2379", want: "--etcd-listen with --swarm"},
		{name: "endpoints and listen", words: "--etcd-endpoints http://10.0.0.1:2379 --etcd-listen 0.0.0.0:2379", want: "--etcd-listen with --etcd-endpoints"},
		{name: "an old token", words: "--join 10.0.0.1 --token AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", want: "--token: the token is of an older gvlan"},
		{name: "listen without a host", words: "--etcd-listen :2379", want: `--etcd-listen ":2379": give an address of this host and a port up to 65533`},
		{name: "listen at a name", words: "--etcd-listen host1:2379", want: `--etcd-listen "host1:2379": give an address`},
		{name: "listen at the last port", words: "--etcd-listen 10.0.0.1:65534", want: "the two ports after it are used as well"},

		{name: "certificates without endpoints", words: "--etcd-ca ca.pem", want: "without --etcd-endpoints"},
		{name: "certificate without key", words: "--etcd-endpoints https://h:1 --etcd-cert c.pem", want: "--etcd-cert and --etcd-key"},
		{name: "certificates in the clear", words: "--etcd-endpoints http://h:1 --etcd-ca ca.pem", want: "http:// uses no certificates"},
		{name: "user without password", words: "--etcd-endpoints https://h:1 --etcd-user u", want: "--etcd-user and --etcd-password"},
		{name: "password without user", words: "--etcd-endpoints https://h:1 --etcd-password p", want: "--etcd-user and --etcd-password"},
		{name: "two passwords", words: "--etcd-endpoints https://h:1 --etcd-user u --etcd-password p --etcd-password-file f", want: "--etcd-password with --etcd-password-file"},
		{name: "endpoint without a scheme", words: "--etcd-endpoints 10.0.0.1:2379", want: `--etcd-endpoints "10.0.0.1:2379": give https://HOST:PORT`},
		{name: "endpoint without a port", words: "--etcd-endpoints https://10.0.0.1", want: "give https://HOST:PORT"},
		{name: "prefix", words: "--etcd-prefix gvlan/", want: `--etcd-prefix "gvlan/"`},

		{name: "metrics without a host", words: "--metrics-listen :9640", want: `--metrics-listen ":9640": give HOST:PORT`},
		{name: "metrics without a port", words: "--metrics-listen 127.0.0.1", want: `--metrics-listen "127.0.0.1": give HOST:PORT`},
		{name: "profiles nowhere", words: "--pprof", want: "--pprof without --metrics-listen"},
		{name: "profiles for the LAN", words: "--metrics-listen 0.0.0.0:9640 --pprof", want: "--pprof with --metrics-listen 0.0.0.0:9640: others than this host"},
		{name: "profiles at a name", words: "--metrics-listen localhost:9640 --pprof", want: "--pprof with --metrics-listen localhost:9640"},
		{name: "metrics for the LAN", words: "--metrics-listen 0.0.0.0:9640"},

		{name: "the page for this host", words: "--web-listen 127.0.0.1:8470"},
		{name: "the page for this host, IPv6", words: "--web-listen [::1]:8470 --web-cert c --web-key k"},
		{name: "the page with a password", words: "--web-listen 0.0.0.0:8470 --web-password sesame-open"},
		{name: "the page with a password in a file", words: "--web-listen [::]:8470 --web-password-file f --web-cert c --web-key k"},
		{name: "the page behind a proxy", words: "--web-listen host1:8470 --web-proxy-header X-Remote-User --web-proxy-from 192.168.1.5/32,fd00::5/128"},
		{name: "the page without a host", words: "--web-listen :8470 --web-password sesame-open", want: `--web-listen ":8470": give HOST:PORT, for example 127.0.0.1:8470`},
		{name: "the page without a port", words: "--web-listen 127.0.0.1", want: `--web-listen "127.0.0.1": give HOST:PORT`},
		{name: "the page open to all", words: "--web-listen 0.0.0.0:8470", want: "--web-listen 0.0.0.0:8470: others than this host may reach that address"},
		{name: "the page open to all IPv6", words: "--web-listen [::]:8470", want: "--web-listen [::]:8470: others than this host"},
		{name: "the page open to all, mapped", words: "--web-listen [::ffff:0.0.0.0]:8470", want: "others than this host"},
		{name: "the page open to the LAN", words: "--web-listen 192.168.1.10:8470 --web-cert c --web-key k", want: "or listen on 127.0.0.1:8470"},
		{name: "the page at a name", words: "--web-listen localhost:8470", want: "--web-listen localhost:8470: others than this host"},
		{name: "the page with half a pair", words: "--web-listen 127.0.0.1:8470 --web-cert c", want: "--web-cert and --web-key: one is no use"},
		{name: "the page with the other half", words: "--web-listen 127.0.0.1:8470 --web-key k", want: "--web-cert and --web-key: one is no use"},
		{name: "a header from nowhere", words: "--web-listen 0.0.0.0:8470 --web-proxy-header X-Remote-User", want: "--web-proxy-header and --web-proxy-from: one is no use"},
		{name: "a proxy without a header", words: "--web-listen 0.0.0.0:8470 --web-proxy-from 10.0.0.1/32", want: "--web-proxy-header and --web-proxy-from: one is no use"},
		{name: "a header of everybody", words: "--web-listen 0.0.0.0:8470 --web-proxy-header User-Agent --web-proxy-from 10.0.0.1/32", want: "--web-proxy-header User-Agent: requests of people who were not let in have it as well"},
		{name: "a header that is added for everybody", words: "--web-listen 0.0.0.0:8470 --web-proxy-header x-forwarded-for --web-proxy-from 10.0.0.1/32", want: "give one that only the proxy sets"},
		{name: "no header", words: "--web-listen 0.0.0.0:8470 --web-proxy-header X:User --web-proxy-from 10.0.0.1/32", want: `--web-proxy-header "X:User" is no name of a header`},
		{name: "everybody is the proxy", words: "--web-listen 0.0.0.0:8470 --web-proxy-header X-User --web-proxy-from 10.0.0.1/32,::/0", want: "a prefix of length 0 is everybody"},
		{name: "two passwords of the page", words: "--web-listen 0.0.0.0:8470 --web-password sesame-open --web-password-file f", want: "--web-password with --web-password-file: give one"},
		{name: "a short password", words: "--web-listen 0.0.0.0:8470 --web-password sesame", want: "--web-password: the password has 6 characters: give 8 or more"},
		{name: "a password of nothing", words: "--web-password sesame-open", want: "without --web-listen: nothing would listen"},
		{name: "a certificate of nothing", words: "--web-cert c --web-key k", want: "without --web-listen: nothing would listen"},
		{name: "a proxy to nothing", words: "--web-proxy-header X-User --web-proxy-from 10.0.0.1/32", want: "without --web-listen: nothing would listen"},

		{name: "driver name", words: "--driver-name GVLAN", want: `--driver-name "GVLAN"`},
		{name: "swarm under the socket plugin's name", words: "--swarm --driver-name gvlan --etcd-endpoints http://10.0.0.1:2379", want: "hides the socket plugin"},
		{name: "swarm without a store", words: "--swarm", want: "would give the same addresses"},
		{name: "node name", words: "--node-name a/b", want: `--node-name "a/b"`},
		{name: "a plugin's node name", words: "--node-name rack.swarm", want: "--node-name rack.swarm: names that end in .swarm are those of managed plugins"},
		{name: "a plugin's node name for one", words: "--node-name rack.swarm --swarm --etcd-endpoints http://10.0.0.1:2379"},
		{name: "relative folder", words: "--data-dir gvlan", want: `--data-dir "gvlan"`},
		{name: "relative socket", words: "--status-socket gvlan.sock", want: `--status-socket "gvlan.sock"`},
		{name: "docker by path", words: "--docker /var/run/docker.sock", want: `--docker "/var/run/docker.sock"`},
		{name: "advertise every address", words: "--advertise 0.0.0.0", want: "--advertise 0.0.0.0"},
		{name: "advertise with a port", words: "--advertise 10.0.0.1:7947", want: `--advertise "10.0.0.1:7947"`},
		{name: "log format", words: "--log-format xml", want: `--log-format "xml"`},

		{name: "BGP", words: "--bgp-as 65001 --bgp-peer 192.168.1.1,65000 --bgp-peer [fd00::1]:1179,65000,/etc/gvlan/bgp --bgp-import 10.0.0.0/8,fd00::/8"},
		{name: "peers without an AS", words: "--bgp-peer 192.168.1.1,65000", want: "--bgp-peer without --bgp-as"},
		{name: "an AS without peers", words: "--bgp-as 65001 --bgp-import 10.0.0.0/8", want: "--bgp-as without --bgp-peer"},
		{name: "routes of nobody", words: "--bgp-import 10.0.0.0/8", want: "--bgp-import without --bgp-peer"},
		{name: "a peer twice", words: "--bgp-as 65001 --bgp-peer 192.168.1.1,65000 --bgp-peer 192.168.1.1:1179,65002", want: "--bgp-peer 192.168.1.1 is given twice"},

		{name: "dns listener without dns", words: "--dns off --dns-listen 0.0.0.0:53", want: "--dns-listen with --dns off"},
		{name: "upstream without a port", words: "--dns-upstream 9.9.9.9", want: `--dns-upstream "9.9.9.9"`},
		{name: "domain", words: "--domain gvlan.", want: `--domain "gvlan."`},
		{name: "pool of the other family", words: "--default-pools fd00::/48:64", want: "is in the wrong one"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			loaded := loadFrom(t, strings.Fields(test.words)...)
			err := loaded.Check()
			if test.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatalf("accepted, want an error with %q", test.want)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %q, want one with %q", err, test.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one sentence about one mistake:\n%v", err)
			}
		})
	}
}

func TestParentsTable(t *testing.T) {
	loaded := loadFrom(t)
	loaded.Config.Parents = Parents{Default: "eth0, @host", Networks: map[string]string{"lan1": " , ", "lan2": "eth0 e/th1"}}
	err := loaded.Check()
	for _, want := range []string{"parents.default: @host means this very table", "parents.networks.lan1: the list is empty", "parents.networks.lan2: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestSwarmDefaults(t *testing.T) {
	loaded := loadFrom(t, "--swarm")
	got := []string{loaded.Config.DriverName, loaded.Config.StatusSocket}
	if diff := cmp.Diff([]string{"gvlan-swarm:latest", "/run/gvlan/swarm.sock"}, got); diff != "" {
		t.Errorf("defaults with --swarm (-want +got):\n%s", diff)
	}
	chosen := loadFrom(t, "--swarm", "--driver-name", "lan:v2", "--status-socket", "/s")
	got = []string{chosen.Config.DriverName, chosen.Config.StatusSocket}
	if diff := cmp.Diff([]string{"lan:v2", "/s"}, got); diff != "" {
		t.Errorf("chosen with --swarm (-want +got):\n%s", diff)
	}
}

func TestTokenFileIsChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("not-a-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{Join: Join{TokenFile: path}}
	_, err := c.JoinToken()
	if err == nil || !strings.Contains(err.Error(), "--token-file: ") {
		t.Errorf("error is %v, want one that names --token-file and the length", err)
	}
	if err != nil && strings.Contains(err.Error(), "not-a-token") {
		t.Errorf("the error prints the token: %v", err)
	}
}
