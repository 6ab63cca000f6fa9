package docker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestRollingUpgrade has three hosts run the release before, upgrades them one
// after the other and goes back again, while containers start and stop on all of
// them and everything that can be rotated is. The engine is 28.5 on two and 20.10
// on one; the store is the cluster's own.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	before := previousRelease(t)
	c := newBareCluster(t, options{hosts: append(lab.Same(2, lab.Docker28), lab.Same(1, lab.Docker20)...)})
	now, old := c.binary, must(c.Install(before))(t)
	c.binary = old
	c.args = append(c.args, "--log-level", "debug")
	for i, h := range c.Hosts {
		c.agents[i] = c.agent(h, c.args...)
	}
	for _, h := range c.Hosts {
		c.waitTrusted(h)
	}
	c.formed(c.Hosts...)
	c.scenario("upgrade and back", func(c *cluster) {
		h1, h2, h3 := c.Hosts[0], c.Hosts[1], c.Hosts[2]
		c.network(h1, "lan", "--subnet", "10.194.0.0/24", "-o", "parent=eth1", "--ipam-opt", "cooldown=1s", "--ipam-opt", "probe=off")
		r := c.rolling("lan")

		c.binary = now // a package brings the command before the agent is started again
		r.upgrade(h1, now)
		settled := c.rotate(h1, h3)
		r.upgrade(h2, now)
		r.upgrade(h3, now)
		settled()

		kept := c.plantLater(h1, h3)
		c.gvlan(h1, "network", "set", "lan", "exclude+=10.194.0.250")
		c.gvlan(h3, "reserve", "lan", laterAddress, "--note", "another")
		c.gvlan(h2, "node", "drain", h3.Name)
		c.gvlan(h1, "node", "drain", "--undo", h3.Name)
		c.laterKept(kept...)

		settled = c.rotate(h2, h1)
		r.upgrade(h3, old)
		r.upgrade(h1, old)
		r.upgrade(h2, old)
		settled()
		// The release before 0.2 keeps nothing that it writes itself, as a host's
		// own description.
		c.laterKept(kept[:2]...)

		r.end()
		c.alone(c.Hosts...)
		c.binary = now
		c.gvlan(h1, "unreserve", "lan", laterAddress)
		for _, h := range c.Hosts {
			if a := must(c.auditOn(h))(c.t); len(a.Findings) > 0 {
				c.t.Errorf("an audit on %s finds %+v", h.Name, a.Findings)
			}
		}
	})
}

// previousRelease builds the gvlan of the commit that closed the newest version in
// CHANGELOG.md, once per machine and commit.
func previousRelease(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..")
	changes := must(os.ReadFile(filepath.Join(root, "CHANGELOG.md")))(t)
	newest := regexp.MustCompile(`(?m)^## \[[0-9][^]]*\]`).Find(changes)
	if newest == nil {
		t.Fatal("CHANGELOG.md closes no version: there is no release before this one")
	}
	git := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", root}, args...)...).Output()
		if err != nil {
			t.Fatalf("git %s: %v", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out))
	}
	if git("rev-parse", "--is-shallow-repository") == "true" {
		t.Fatalf("this checkout has no whole history, and so not the commit of the release before: git fetch --unshallow")
	}
	commits := strings.Fields(git("log", "--format=%H", "-S"+string(newest), "--", "CHANGELOG.md"))
	if len(commits) == 0 {
		t.Fatalf("no commit of this history closed %s in CHANGELOG.md", newest)
	}
	return must(lab.BuildOf(t.Context(), root, commits[len(commits)-1], "cmd/gvlan"))(t)
}

// rolling is a cluster that works while its hosts get another gvlan.
type rolling struct {
	c       *cluster
	network string
	load    errgroup.Group
	stop    chan struct{}
	started [3]atomic.Int64

	mu      sync.Mutex
	turn    map[string]int        // odd while a host is upgraded
	holders map[netip.Addr]string // who has an address, as it was started
}

// rolling begins to start and stop containers on every host, beside one that stays
// and pings the next one's without a pause.
func (c *cluster) rolling(network string) *rolling {
	c.t.Helper()
	r := &rolling{c: c, network: network, stop: make(chan struct{}), turn: map[string]int{}, holders: map[netip.Addr]string{}}
	for _, h := range c.Hosts {
		r.holders[c.run(h, network, "stays-"+h.Name)] = "stays-" + h.Name
	}
	for i, h := range c.Hosts {
		to := c.Hosts[(i+1)%len(c.Hosts)]
		addr := c.address(to, network, "stays-"+to.Name)
		h.MustDocker(c.t, "exec", "-d", "stays-"+h.Name, "sh", "-c", "exec ping "+addr.String()+" >/pings 2>&1")
	}
	for i, h := range c.Hosts {
		r.load.Go(func() error {
			err := r.comeAndGo(i, h)
			if err != nil {
				c.t.Log(err) // whoever waits for its starts waits in vain
			}
			return err
		})
	}
	c.t.Cleanup(func() {
		r.halt()
		_ = r.load.Wait() // end has judged it, unless something else failed
	})
	r.goOn()
	return r
}

// comeAndGo starts containers on a host and removes them. None may fail, but while
// the host is upgraded. A pause between them leaves the machine to whatever runs beside.
func (r *rolling) comeAndGo(i int, h *lab.Host) error {
	ctx := context.WithoutCancel(r.c.t.Context())
	for n := 0; ; n++ {
		select {
		case <-r.stop:
			return nil
		default:
		}
		name := fmt.Sprintf("comes-%s-%d", h.Name, n)
		before := r.turnOf(h)
		_, err := h.Docker(ctx, sleeper(r.network, name)...)
		if err == nil {
			err = r.hold(h, name)
		}
		if upgraded := before%2 == 1 || before != r.turnOf(h); err != nil && (!upgraded || errors.Is(err, errTwice)) {
			return fmt.Errorf("a start on %s, which is not upgraded: %w", h.Name, err)
		}
		r.letGo(name)
		if _, err := h.Docker(ctx, "rm", "-f", name); err != nil {
			return fmt.Errorf("remove a container on %s: %w", h.Name, err)
		}
		r.started[i].Add(1)
		time.Sleep(500 * time.Millisecond)
	}
}

var errTwice = errors.New("an address was given twice")

// hold notes the address of a container, until letGo.
func (r *rolling) hold(h *lab.Host, name string) error {
	out, err := h.Docker(r.c.t.Context(), "inspect", "-f", "{{(index .NetworkSettings.Networks \""+r.network+"\").IPAddress}}", name)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(out))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.holders[addr]; other != "" {
		return fmt.Errorf("%w: %s to %s and to %s", errTwice, addr, other, name)
	}
	r.holders[addr] = name
	return nil
}

func (r *rolling) letGo(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.holders, func(_ netip.Addr, holder string) bool { return holder == name })
}

func (r *rolling) turnOf(h *lab.Host) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turn[h.Name]
}

func (r *rolling) nextTurn(h *lab.Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn[h.Name]++
}

// upgrade has a host's agent give way to another gvlan, and waits until the whole
// cluster works again: the store is complete, containers start everywhere, and
// find each other by name from the host and to it.
func (r *rolling) upgrade(h *lab.Host, binary string) {
	c := r.c
	c.t.Helper()
	i := slices.Index(c.Hosts, h)
	r.nextTurn(h)
	if err := c.agents[i].Signal(syscall.SIGUSR1); err != nil {
		c.t.Fatal(err)
	}
	<-c.agents[i].Done()
	if err := c.agents[i].Err(); err != nil {
		c.t.Errorf("the agent of %s ended with %v", h.Name, err)
	}
	args := append([]string{"agent", "--node-name", h.Name}, c.args...)
	c.agents[i] = must(h.StartAgent(c.t.Context(), lab.AgentOptions{Binary: binary, Args: args}))(c.t)
	c.waitTrusted(h)
	r.nextTurn(h)
	c.waitMembers(c.Hosts, 3, 0)
	r.goOn()
	for _, pair := range [][2]*lab.Host{{h, c.Hosts[(i+1)%3]}, {c.Hosts[(i+1)%3], h}} {
		eventually(c.t, "a container of "+pair[0].Name+" to find one of "+pair[1].Name, func() error {
			_, err := pair[0].Docker(c.t.Context(), "exec", "stays-"+pair[0].Name, "ping", "-c", "1", "-w", "5", "stays-"+pair[1].Name)
			return err
		})
	}
}

// goOn waits until every host has started a container that was asked for after
// this call.
func (r *rolling) goOn() {
	r.c.t.Helper()
	for i, h := range r.c.Hosts {
		want := r.started[i].Load() + 2
		eventually(r.c.t, "starts on "+h.Name, func() error {
			select {
			case <-r.stop:
				return nil
			default:
			}
			if got := r.started[i].Load(); got < want {
				return fmt.Errorf("%d of %d", got, want)
			}
			return nil
		})
	}
}

func (r *rolling) halt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
}

// end stops the load, and judges it.
func (r *rolling) end() {
	c := r.c
	c.t.Helper()
	r.halt()
	if err := r.load.Wait(); err != nil {
		c.t.Error(err)
	}
	for _, h := range c.Hosts {
		h.MustDocker(c.t, "exec", "stays-"+h.Name, "sh", "-c", "killall -INT ping; sleep 1")
		said := h.MustDocker(c.t, "exec", "stays-"+h.Name, "tail", "-n", "3", "/pings")
		found := regexp.MustCompile(`(\d+) packets transmitted, (\d+) packets received`).FindStringSubmatch(said)
		if found == nil {
			c.t.Fatalf("the pings of %s end with %q", h.Name, said)
		}
		sent, got := must(strconv.Atoi(found[1]))(c.t), must(strconv.Atoi(found[2]))(c.t)
		if got < sent-1 { // the last one may be on its way
			c.t.Errorf("%d of %d pings of %s were answered: %s", got, sent, h.Name, said)
		}
	}
}

// rotate begins another token, gossip key and authority by the agents of two
// hosts; the end that it returns waits until all of them are in use alone.
func (c *cluster) rotate(one, other *lab.Host) (settled func()) {
	c.t.Helper()
	keys := c.gossipKeys()
	token := c.gvlan(one, "token", "show", "-q")
	c.gvlan(other, "token", "rotate")
	if c.gvlan(one, "token", "show", "-q") == token {
		c.t.Errorf("%s shows the token of before", one.Name)
	}
	c.gvlan(one, "ca", "rotate")
	var rotated errgroup.Group
	rotated.Go(func() error {
		_, err := other.Exec(c.t.Context(), c.binary, "key", "rotate")
		return err
	})
	return func() {
		c.t.Helper()
		// The agent that was asked may have been replaced meanwhile, and the store's
		// member with it: then it is typed again, as by a person.
		if err := rotated.Wait(); err != nil {
			c.t.Log(err)
			c.gvlan(other, "key", "rotate")
		}
		if now := c.gossipKeys(); len(now) != 1 || slices.Equal(now[0], keys[0]) {
			c.t.Errorf("there are %d gossip keys, want one that is new", len(now))
		}
		eventually(c.t, "the authority to be replaced", func() error {
			out, err := one.Exec(c.t.Context(), c.binary, "ca", "status")
			if err == nil && !strings.Contains(out, "settled") {
				err = errors.New(out)
			}
			return err
		})
	}
}

// laterAddress is reserved.
const laterAddress = "10.194.0.251"

// plantLater puts a member that no gvlan knows into a network, a reservation and
// the description of a host, as a newer one would, and returns their keys.
func (c *cluster) plantLater(one, described *lab.Host) []string {
	c.t.Helper()
	c.gvlan(one, "reserve", "lan", laterAddress, "--note", "one")
	keys := []string{store.NetworkKey("lan"), store.ReservationKey("default", netip.MustParseAddr(laterAddress)), store.NodeKey(described.Name)}
	for _, key := range keys {
		eventually(c.t, "to write "+key, func() error {
			was, members, err := c.textOf(key)
			if err != nil {
				return err
			}
			members["later"] = json.RawMessage(laterMember)
			raw := must(json.Marshal(members))(c.t)
			res, err := c.store.Txn(c.t.Context()).If(clientv3.Compare(clientv3.ModRevision(prefix+key), "=", was)).
				Then(clientv3.OpPut(prefix+key, string(raw))).Commit()
			if err == nil && !res.Succeeded {
				err = errors.New("it changed")
			}
			return err
		})
	}
	return keys
}

const laterMember = `{"of":"a newer gvlan"}`

// laterKept checks that what plantLater put there is there still.
func (c *cluster) laterKept(keys ...string) {
	c.t.Helper()
	for _, key := range keys {
		_, members, err := c.textOf(key)
		if err != nil || string(members["later"]) != laterMember {
			c.t.Errorf("%s has no longer what a newer gvlan wrote: %v, %v", key, members, err)
		}
	}
}

// textOf reads the members of a record, and the revision it was written at.
func (c *cluster) textOf(key string) (at int64, all map[string]json.RawMessage, err error) {
	got, err := c.store.Get(c.t.Context(), prefix+key)
	if err != nil {
		return 0, nil, err
	}
	if len(got.Kvs) != 1 {
		return 0, nil, fmt.Errorf("%s is not there", key)
	}
	return got.Kvs[0].ModRevision, all, json.Unmarshal(got.Kvs[0].Value, &all)
}
