package firewall_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"gvlan/cmd/internal/doctor/firewall"
)

// saved is what iptables-legacy-save prints of these rules of INPUT.
func saved(policy string, rules ...string) string {
	return "# Generated\n*filter\n:INPUT " + policy + " [0:0]\n:FORWARD DROP [0:0]\n:more - [0:0]\n-A FORWARD -j ACCEPT\n" +
		strings.Join(rules, "\n") + "\nCOMMIT\n"
}

func TestLegacy(t *testing.T) {
	first := "rule 1 of chain INPUT in table ip filter (iptables-legacy)"
	policy := "the policy of chain INPUT in table ip filter (iptables-legacy)"
	passes := firewall.Verdict{Certain: true}
	drops := func(by string) firewall.Verdict { return firewall.Verdict{Dropped: true, Certain: true, By: by} }
	for _, tt := range []struct {
		name, saved string
		want        firewall.Verdict
	}{
		{"nothing", saved("ACCEPT"), passes},
		{"a policy", saved("DROP"), drops(policy)},
		{"an open port", saved("DROP", "-A INPUT -p tcp -m tcp --dport 2379 -j ACCEPT"), passes},
		{"another one", saved("DROP", "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"), drops(policy)},
		{"open ports", saved("DROP", "-A INPUT -p tcp -m multiport --dports 22,2379:2381 -j ACCEPT"), passes},
		{"all but some ports", saved("DROP", "-A INPUT -p tcp -m multiport ! --dports 22,2379:2381 -j ACCEPT"), drops(policy)},
		{"of UDP", saved("DROP", "-A INPUT -p udp -m udp --dport 2379 -j ACCEPT"), drops(policy)},
		{"of ICMP", saved("DROP", "-A INPUT -p icmp -j ACCEPT"), drops(policy)},
		{"from the LAN", saved("DROP", "-A INPUT -s 192.168.1.0/24 -j ACCEPT"), passes},
		{"from elsewhere", saved("DROP", "-A INPUT ! -s 192.168.1.0/24 -j ACCEPT"), drops(policy)},
		{"to this host", saved("DROP", "-A INPUT -d 192.168.1.1/32 -j ACCEPT"), passes},
		{"by an interface", saved("DROP", "-A INPUT -i eth+ -j ACCEPT"), passes},
		{"by another one", saved("DROP", "-A INPUT -i eth1 -j ACCEPT"), drops(policy)},
		{"what is established", saved("DROP", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"), drops(policy)},
		{"what is new", saved("ACCEPT", "-A INPUT -m state --state INVALID,NEW -j DROP"), drops(first)},
		{"reject", saved("ACCEPT", "-A INPUT -p tcp -m tcp --dport 2379 -j REJECT --reject-with icmp-port-unreachable"), drops(first)},
		{"what has no SYN", saved("ACCEPT", "-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP"), passes},
		{"what has no flags", saved("ACCEPT", "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP"), passes},
		{"a comment", saved("ACCEPT", `-A INPUT -m comment --comment "-j ACCEPT \"of\" old" -j DROP`), drops(first)},
		{"a log", saved("DROP", `-A INPUT -p tcp -m tcp --dport 2379 -j LOG --log-prefix "-j DROP "`, "-A INPUT -j ACCEPT"), passes},
		{"as ufw", saved("DROP", "-A INPUT -j more", "-A more -m addrtype --dst-type LOCAL -j RETURN", "-A more -j DROP", "-A INPUT -j ACCEPT"), passes},
		{"a chain that drops", saved("ACCEPT", "-A INPUT -j more", "-A more -p tcp -j DROP"), drops("rule 1 of chain more in table ip filter (iptables-legacy)")},
		{"a chain that is gone to", saved("DROP", "-A INPUT -g more", "-A INPUT -j ACCEPT"), drops(policy)},
		{"what a list has", saved("ACCEPT", "-A INPUT -m set --match-set bad src -j DROP"), passes},
		{"what a list lets in", saved("DROP", "-A INPUT -m set ! --match-set bad src -j ACCEPT"), firewall.Verdict{Dropped: true, By: policy}},
		{"words that end", saved("ACCEPT", "-A INPUT !", "-A INPUT -j", "-A", "-A INPUT --dport x -j DROP"), passes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packet := gossip
			packet.Protocol, packet.Port = unix.IPPROTO_TCP, 2379
			rules := firewall.Ruleset{Chains: firewall.Legacy(nftables.TableFamilyIPv4, tt.saved)}
			if got := rules.Judge(packet); got != tt.want {
				t.Errorf("the verdict is %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestLegacy6 has the longer addresses.
func TestLegacy6(t *testing.T) {
	packet := gossip
	packet.From, packet.To = netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::1")
	rules := firewall.Ruleset{Chains: firewall.Legacy(nftables.TableFamilyIPv6, saved("DROP", "-A INPUT -s fd00::/64 -d fd00::1/128 -p udp -j ACCEPT"))}
	if got := rules.Judge(packet); got.Dropped {
		t.Errorf("the verdict is %+v, want it to pass", got)
	}
	packet.From = netip.MustParseAddr("fd01::2")
	if got := rules.Judge(packet); !got.Dropped {
		t.Errorf("the verdict is %+v, want it dropped", got)
	}
}

// FuzzLegacy: whatever a program prints is read.
func FuzzLegacy(f *testing.F) {
	f.Add(saved("DROP", `-A INPUT -p tcp -m multiport ! --dports 22,2379:2381 -m comment --comment "a \"b" -j more`))
	f.Fuzz(func(_ *testing.T, text string) {
		rules := firewall.Ruleset{Chains: firewall.Legacy(nftables.TableFamilyIPv4, text)}
		rules.Judge(gossip)
	})
}
