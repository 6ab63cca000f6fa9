package sandbox_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/dns/dnstest"
	"gvlan/dns/sandbox"
)

// A wall is a firewall of the container's own, in both of the kernel's
// languages.
type wall struct {
	what   string
	may    []int    // users who may ask
	tables []string // arguments of iptables
	nft    string   // the chains of a table
}

const outside = "10.9.0.66:53" // where nothing answers

var walls = []wall{
	{"DNS to Docker's resolver, root's UDP, no other UDP", []int{0, 65534}, []string{
		"-A OUTPUT -p udp -d 127.0.0.11 -j ACCEPT", "-A OUTPUT -p udp -m owner --uid-owner 0 -j ACCEPT", "-A OUTPUT -p udp -j DROP",
	}, `chain o { type filter hook output priority 0;
		ip daddr 127.0.0.11 udp dport 1-65535 accept
		meta l4proto udp meta skuid 0 accept
		meta l4proto udp drop
	}`},
	{"policy DROP, Docker's resolver and what is established", []int{0, 65534}, []string{
		"-P OUTPUT DROP", "-A OUTPUT -d 127.0.0.11 -j ACCEPT", "-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
	}, `chain o { type filter hook output priority 0; policy drop;
		ip daddr 127.0.0.11 accept
		ct state established accept
	}`},
	{"policy DROP both ways, by state and by address", []int{0, 65534}, []string{
		"-P OUTPUT DROP", "-P INPUT DROP",
		"-A OUTPUT -m conntrack --ctstate NEW,ESTABLISHED -d 127.0.0.11 -j ACCEPT", "-A OUTPUT -m conntrack --ctstate ESTABLISHED -s 127.0.0.11 -j ACCEPT",
		"-A INPUT -m conntrack --ctstate NEW,ESTABLISHED -d 127.0.0.11 -j ACCEPT", "-A INPUT -m conntrack --ctstate ESTABLISHED -s 127.0.0.11 -j ACCEPT",
	}, `chain o { type filter hook output priority 0; policy drop;
		ip daddr 127.0.0.11 ct state new,established accept
		ip saddr 127.0.0.11 ct state established accept
	}
	chain i { type filter hook input priority 0; policy drop;
		ip daddr 127.0.0.11 ct state new,established accept
		ip saddr 127.0.0.11 ct state established accept
	}`},
	{"no DNS but root's", []int{0}, []string{
		"-A OUTPUT -d 127.0.0.11 -m owner ! --uid-owner 0 -j REJECT",
	}, `chain o { type filter hook output priority 0;
		ip daddr 127.0.0.11 meta skuid != 0 reject
	}`},
	{"no DNS but one user's", []int{65534}, []string{
		"-A OUTPUT -p udp -d 127.0.0.11 -m owner ! --uid-owner 65534 -j REJECT",
		"-A OUTPUT -p tcp -d 127.0.0.11 -m owner --uid-owner 0 -j REJECT",
	}, `chain o { type filter hook output priority 0;
		ip daddr 127.0.0.11 meta l4proto udp meta skuid != 65534 reject
		ip daddr 127.0.0.11 meta l4proto tcp meta skuid 0 reject
	}`},
	{"no DNS, by port, ahead of everything", nil, []string{
		"-t raw -A OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DROP", "-t mangle -A OUTPUT -d 127.0.0.11 -p tcp --dport 53 -j DROP",
	}, `chain r { type filter hook output priority -300;
		ip daddr 127.0.0.11 udp dport 53 drop
	}
	chain m { type route hook output priority -150;
		ip daddr 127.0.0.11 tcp dport 53 drop
	}`},
	{"answers from port 53 only", []int{0, 65534}, []string{
		"-A INPUT -s 127.0.0.11 -p udp --sport 53 -m conntrack --ctstate ESTABLISHED --ctorigdst 127.0.0.11 -j ACCEPT", "-A INPUT -s 127.0.0.11 -p udp -j DROP",
		"-A INPUT -s 127.0.0.11 -p tcp --sport 53 -m conntrack --ctstate ESTABLISHED --ctorigdstport 53 -j ACCEPT", "-A INPUT -s 127.0.0.11 -p tcp -j DROP",
	}, `chain i { type filter hook input priority 0;
		ip saddr 127.0.0.11 udp sport 53 ct state established ct status dnat accept
		ip saddr 127.0.0.11 tcp sport 53 ct state established ct original proto-dst 53 accept
		ip saddr 127.0.0.11 drop
	}`},
	{"marks of the container's, set and restored", []int{0, 65534}, []string{
		"-t mangle -A PREROUTING -j CONNMARK --restore-mark", "-t mangle -A OUTPUT -j MARK --set-mark 7",
	}, `chain p { type filter hook prerouting priority -150;
		meta mark set ct mark
	}
	chain m { type route hook output priority -150;
		meta mark set 7
	}`},
	{"DNS led away before Docker's rules", nil, []string{
		"-t nat -I OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination " + outside,
		"-t nat -I OUTPUT -d 127.0.0.11 -p tcp --dport 53 -j DNAT --to-destination 127.0.0.1:9",
	}, `chain n { type nat hook output priority -101;
		ip daddr 127.0.0.11 udp dport 53 dnat to ` + outside + `
		ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.1:9
	}`},
}

func (w wall) build(s *dnstest.Sandbox, language string) {
	if language == "nft" {
		s.NFT("table ip wall {\n" + w.nft + "\n}")
		return
	}
	for _, rule := range w.tables {
		s.Run(language, strings.Fields("-w "+rule)...)
	}
}

// TestFirewallInside holds what a container's own firewall lets through to
// what it lets through with Docker's resolver alone: for root and for another
// user, a name of ours and one that is passed on.
func TestFirewallInside(t *testing.T) {
	f := dnstest.House(t)
	for _, language := range []string{"iptables-legacy", "iptables-nft", "nft"} {
		for _, w := range walls {
			t.Run(language+"/"+w.what, func(t *testing.T) {
				t.Parallel()
				alone := dnstest.NewSandbox(t).WithDocker(map[string]string{"web.": "10.9.0.10", "other.": "172.18.0.3"})
				w.build(alone, language)
				w.hold(t, alone, "Docker's resolver alone")

				box := dnstest.NewSandbox(t).WithDocker(map[string]string{"web.": "172.18.0.2", "other.": "172.18.0.3"})
				s := runSandboxes(t, f.Zone, enterPath)
				s.attach(t, box, "e1", "lan1")
				w.build(box, language)
				w.hold(t, box, "us")
			})
		}
	}
}

// hold asks as several users in every way.
func (w wall) hold(t *testing.T, s *dnstest.Sandbox, with string) {
	t.Helper()
	for _, uid := range []int{0, 65534} {
		for _, network := range []string{"udp", "tcp"} {
			for name, addr := range map[string]string{"web": "10.9.0.10", "other": "172.18.0.3"} {
				what := fmt.Sprintf("with %s, user %d over %s: %s is %s", with, uid, network, name, addr)
				if slices.Contains(w.may, uid) {
					dnstest.Eventually(t, what, func() bool { return try(t, s, uid, network, name) == addr })
				} else if got := try(t, s, uid, network, name); got != "" {
					t.Errorf("with %s, user %d over %s, who may not ask: %s is %s", with, uid, network, name, got)
				}
			}
		}
	}
}

// try asks for a name as a user and returns the address, or "" where the
// kernel or nobody answered.
func try(t *testing.T, s *dnstest.Sandbox, uid int, network, name string) string {
	t.Helper()
	const wait = time.Second / 4 // for what may have been swallowed
	var conn net.Conn
	err := s.NS.Do(func() error {
		return sandbox.AsUser(uid, func() (err error) {
			conn, err = net.DialTimeout(network, "127.0.0.11:53", wait)
			return err
		})
	})
	if err != nil {
		return ""
	}
	defer conn.Close()
	m, err := dnstest.Exchange(conn, name, miekg.TypeA, wait)
	if err != nil {
		return ""
	}
	if m.Rcode != miekg.RcodeSuccess {
		return miekg.RcodeToString[m.Rcode]
	}
	return strings.Join(dnstest.Addresses(m), " ")
}
