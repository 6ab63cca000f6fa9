package docker_test

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
	"gvlan/tests/lab"
)

// nobody is a user that no rule of the walls names.
const nobody = 65534

// walls are firewalls of a container's own, as iptables and as nft take them,
// and the users who get answers behind them.
var walls = []struct {
	tables, nft string
	may         []int
}{
	{
		"-A OUTPUT -p udp -d 127.0.0.11 -j ACCEPT; -A OUTPUT -p udp -m owner --uid-owner 0 -j ACCEPT; -A OUTPUT -p udp -j DROP",
		"meta l4proto udp ip daddr 127.0.0.11 accept; meta l4proto udp meta skuid 0 accept; meta l4proto udp drop",
		[]int{0, nobody},
	},
	{
		"-A OUTPUT -d 127.0.0.11 -j ACCEPT; -A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; -P OUTPUT DROP",
		"ip daddr 127.0.0.11 accept; ct state established accept; drop",
		[]int{0, nobody},
	},
	{
		"-A OUTPUT -d 127.0.0.11 -m owner ! --uid-owner 0 -j REJECT",
		"ip daddr 127.0.0.11 meta skuid != 0 reject",
		[]int{0},
	},
}

// TestNamesFirewall: rules of a container's own see its questions and the
// answers as with Docker's resolver alone, which a container on a network of
// the built-in driver has.
func TestNamesFirewall(t *testing.T) {
	t.Parallel()
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, options{hosts: lab.Same(1, release)})
			n := &named{cluster: c}
			h := n.Hosts[0]
			n.network(h, "ours", "--subnet", "10.160.1.0/24", "-o", "parent=eth1")
			h.MustDocker(t, "network", "create", "-d", "macvlan", "-o", "parent=eth1", "--subnet", "10.160.2.0/24", "theirs")
			h.MustDocker(t, "network", "create", "bridged")
			neighbour := n.run(h, "bridged", "neighbour").String()
			for _, tool := range []string{"iptables-legacy", "nft"} {
				for i := range walls {
					for _, network := range []string{"theirs", "ours"} {
						name := fmt.Sprintf("%s-%s-%d", network, tool, i)
						v4 := n.run(h, network, name).String()
						h.MustDocker(t, "network", "connect", "bridged", name)
						asks := n.asker(h, name)
						asks.gets(name+"."+network, "A", v4)
						asks.wall(tool, i)
						asks.behind(i, name+"."+network, v4)
						asks.behind(i, "neighbour", neighbour) // answered by Docker's resolver
						h.MustDocker(t, "rm", "-f", name)
					}
				}
			}
			h.MustDocker(t, "rm", "-f", "neighbour")
			h.MustDocker(t, "network", "rm", "theirs", "bridged")
		})
	}
}

// wall makes the rules of a wall in the container.
func (a asker) wall(tool string, i int) {
	a.c.t.Helper()
	err := netns.Do(a.box, func() error {
		if tool == "nft" {
			cmd := exec.Command("nft", "-f", "-")
			cmd.Stdin = strings.NewReader("table ip wall { chain o { type filter hook output priority 0; " + walls[i].nft + "; }; }")
			return cmd.Run()
		}
		for rule := range strings.SplitSeq(walls[i].tables, ";") {
			if err := exec.Command(tool, strings.Fields("-w "+rule)...).Run(); err != nil {
				return fmt.Errorf("%s %s: %w", tool, rule, err)
			}
		}
		return nil
	})
	if err != nil {
		a.c.t.Fatal(err)
	}
}

// behind asks as each user over each transport.
func (a asker) behind(i int, name, want string) {
	a.c.t.Helper()
	for _, uid := range []int{0, nobody} {
		for _, transport := range transports {
			what := fmt.Sprintf("%s to ask for %s as user %d over %s", a.name, name, uid, transport)
			if slices.Contains(walls[i].may, uid) {
				eventually(a.c.t, what, func() error { return a.askAs(uid, transport, name, want) })
			} else if err := a.askAs(uid, transport, name, want); err == nil {
				a.c.t.Errorf("%s: is answered, want it to be refused", what)
			}
		}
	}
}

func (a asker) askAs(uid int, transport, name, want string) error {
	var conn net.Conn
	err := netns.Do(a.box, func() (err error) {
		if _, err := unix.SetfsuidRetUid(uid); err != nil {
			return err
		}
		defer unix.SetfsuidRetUid(0)
		conn, err = net.DialTimeout(transport, dockerResolver, time.Second)
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, _, err := (&miekg.Client{Timeout: time.Second}).ExchangeWithConn(question(name, miekg.TypeA), &miekg.Conn{Conn: conn})
	if err == nil && !slices.Equal(data(answer.Answer), []string{want}) {
		err = fmt.Errorf("got %v, want %s", answer, want)
	}
	return err
}
