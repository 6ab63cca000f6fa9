package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// overlay is a network of a swarm: its id has 25 digits of base 36.
const (
	overlay       = "abcdefghijklmnopqrstuvwxy"
	overlaySubnet = "10.0.1.0/24"
	taskAddress   = "10.0.1.2" // the first that the swarm's manager gives
)

func TestSwarmIDs(t *testing.T) {
	tests := []struct {
		id              string
		swarm, keepsOne bool
	}{
		{overlay, true, true},
		{"0123456789012345678901234", true, true},
		{store.ManagerNetwork(overlay), false, true},
		{strings.ToUpper(overlay), false, false},
		{overlay + "z", false, false},
		{strings.Repeat("0123456789abcdef", 4), false, false}, // an engine's own
		{"import:" + overlay, false, false},
		{"", false, false},
	}
	for _, tt := range tests {
		if got := store.IsSwarmID(tt.id); got != tt.swarm {
			t.Errorf("IsSwarmID(%q) is %t", tt.id, got)
		}
		if got := keepsID(tt.id); got != tt.keepsOne {
			t.Errorf("keepsID(%q) is %t", tt.id, got)
		}
	}
}

// swarm is three hosts, each of which may lead and may run the one task.
type swarm struct {
	*cluster
	nodes map[string]*swarmHost
}

type swarmHost struct {
	*host
	leading, working string // PoolIDs
	endpoint         string
}

func newSwarm(c *cluster) *swarm {
	s := &swarm{cluster: c, nodes: map[string]*swarmHost{}}
	for _, name := range []string{"h1", "h2", "h3"} {
		s.nodes[name] = &swarmHost{host: c.host(name), endpoint: "task-on-" + name}
		s.nodes[name].ready() // no comparison of its start comes in the middle of a life
	}
	return s
}

func (s *swarm) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// lead does what the engine of a new leader does.
func (h *swarmHost) lead() error {
	reply, err := h.RequestPool(h.ctx(), PoolRequest{Space: pool.GlobalSpace, Pool: overlaySubnet})
	if err != nil {
		return err
	}
	h.leading = reply.ID
	gateway, err := h.RequestAddress(h.ctx(), AddressRequest{PoolID: reply.ID, Options: map[string]string{pool.RequestType: pool.RequestGateway}})
	if err != nil {
		return err
	}
	return h.Attach(store.ManagerNetwork(overlay), []pool.Data{{Space: pool.GlobalSpace, Subnet: reply.Subnet, Gateway: gateway.Addr()}})
}

// claim asks for an address as the leader; "" for any.
func (h *swarmHost) claim(address string) error {
	got, err := h.RequestAddress(h.ctx(), AddressRequest{PoolID: h.leading, Address: address})
	if err == nil && got.Addr().String() != taskAddress {
		err = fmt.Errorf("the task was given %s", got)
	}
	return err
}

// work asks for the task's address as the worker.
func (h *swarmHost) work() error {
	reply, err := h.RequestPool(h.ctx(), PoolRequest{Space: pool.LocalSpace, Pool: overlaySubnet})
	if err != nil {
		return err
	}
	h.working = reply.ID
	if err := h.Attach(overlay, []pool.Data{{Space: pool.LocalSpace, Subnet: reply.Subnet}}); err != nil {
		return err
	}
	_, err = h.RequestAddress(h.ctx(), AddressRequest{PoolID: h.working, Address: taskAddress})
	return err
}

func (h *swarmHost) bind() error {
	at := netip.MustParseAddr(taskAddress)
	return h.Bind(h.ctx(), Binding{Network: overlay, Endpoint: h.endpoint, Addresses: []netip.Addr{at},
		Record: store.Endpoint{Segment: pool.DefaultSegment, IPv4: netip.PrefixFrom(at, 24).String(), Container: store.Container{Name: h.endpoint}}})
}

func (h *swarmHost) release(pool string) error { return h.ReleaseAddress(h.ctx(), pool, taskAddress) }

// play does steps, none of which may be refused.
func (s *swarm) play(steps ...string) {
	s.Helper()
	for _, step := range steps {
		s.must(s.act(step))
	}
}

// act does one step, "HOST VERB".
func (s *swarm) act(step string) error {
	name, verb, _ := strings.Cut(step, " ")
	h := s.nodes[name]
	switch verb {
	case "leads":
		return h.lead()
	case "claims":
		return h.claim("")
	case "repeats":
		return h.claim(taskAddress)
	case "drops":
		return h.release(h.leading)
	case "works":
		return h.work()
	case "binds":
		return h.bind()
	case "gives up":
		return h.release(h.working)
	case "stops":
		if err := h.Unbind(h.ctx(), h.endpoint); err != nil {
			return err
		}
		h.endpoint += "'" // no engine gives an id twice
		return h.release(h.working)
	case "is evicted":
		return s.evict(h.name)
	case "returns":
		conflicts, err := h.Reassert(h.ctx())
		for _, c := range conflicts {
			err = errors.Join(err, errors.New(c.Holder))
		}
		return err
	case "misses a reply":
		h.lossy.lose(rewrites, func() {})
		return nil
	case "restarts":
		h.restart()
		h.ready()
		return nil
	}
	return fmt.Errorf("no step is called %q", step)
}

// evict takes a worker's claim away, as an eviction of its node does, which
// ends the agent's epoch first: its loops write nothing any more.
func (s *swarm) evict(node string) error {
	s.nodes[node].stop()
	it, rec := s.leaseAt(pool.DefaultSegment, taskAddress)
	if rec.Node != node {
		return fmt.Errorf("%s has no claim: %+v", node, rec)
	}
	rec.Node, rec.Endpoint, rec.Epoch, rec.Claims = "", "", 0, &store.Claims{Manager: true}
	_, err := s.far.Commit(s.Context(), store.Txn{Then: []store.Op{
		store.Put(it.Key, store.Encode(rec)), store.Delete(store.EndpointKey(node, s.nodes[node].endpoint)),
	}})
	return err
}

// record says who claims the task's address.
func (s *swarm) record() string {
	it, rec := s.leaseAt(pool.DefaultSegment, taskAddress)
	if it.Created == 0 {
		return "free"
	}
	if rec.Claims == nil {
		return "leased without claims"
	}
	var by []string
	if rec.Claims.Manager {
		by = append(by, "manager")
	}
	switch {
	case rec.Claims.Worker && rec.Endpoint != "":
		by = append(by, "bound on "+rec.Node)
	case rec.Claims.Worker:
		by = append(by, "given to "+rec.Node)
	case rec.Node != "" || rec.Endpoint != "":
		by = append(by, "still of "+rec.Node+" "+rec.Endpoint)
	}
	return strings.Join(by, ", ")
}

// TestClaims plays the life of one task's address. A step that must be refused
// ends with the words of the refusal.
func TestClaims(t *testing.T) {
	tests := []struct{ name, steps, want string }{
		{"the manager claims", "h1 leads; h1 claims", "manager"},
		{"the task never ran", "h1 leads; h1 claims; h1 drops", "free"},
		{"the worker joins the claim", "h1 leads; h1 claims; h2 works", "manager, given to h2"},
		{"the worker fails to start it", "h1 leads; h1 claims; h2 works; h2 gives up", "manager"},
		{"the task runs", "h1 leads; h1 claims; h2 works; h2 binds", "manager, bound on h2"},
		{"the worker's claim is not answered", "h1 leads; h1 claims; h2 misses a reply; h2 works; h2 binds", "manager, bound on h2"},
		{"the task's start is not answered", "h1 leads; h1 claims; h2 works; h2 misses a reply; h2 binds", "manager, bound on h2"},
		{"its stop is not answered", "h1 leads; h1 claims; h2 works; h2 binds; h2 misses a reply; h2 stops", "manager"},
		{"the manager's release is not answered", "h1 leads; h1 claims; h2 works; h2 binds; h1 misses a reply; h1 drops", "bound on h2"},
		{"the manager lets go first", "h1 leads; h1 claims; h2 works; h2 binds; h1 drops", "bound on h2"},
		{"the worker lets go first", "h1 leads; h1 claims; h2 works; h2 binds; h2 stops", "manager"},
		{"both are gone, manager first", "h1 leads; h1 claims; h2 works; h2 binds; h1 drops; h2 stops", "free"},
		{"both are gone, worker first", "h1 leads; h1 claims; h2 works; h2 binds; h2 stops; h1 drops", "free"},
		{"the leader runs it itself", "h1 leads; h1 claims; h1 works; h1 binds; h1 stops; h1 drops", "free"},
		{"dropped twice", "h1 leads; h1 claims; h2 works; h2 binds; h1 drops; h1 drops", "bound on h2"},
		{"stopped twice", "h1 leads; h1 claims; h2 works; h2 binds; h2 stops; h2 stops", "manager"},

		{"a second worker is refused", "h1 leads; h1 claims; h2 works; h2 binds; h3 works = in use", "manager, bound on h2"},
		{"a second worker before the first bound", "h1 leads; h1 claims; h2 works; h3 works = 10.0.1.2", "manager, given to h2"},
		{"started elsewhere before its release", "h1 leads; h1 claims; h2 works; h2 binds; h3 works = in use; h2 stops; h3 works; h3 binds", "manager, bound on h3"},
		{"a late stop of the first", "h1 leads; h1 claims; h2 works; h2 binds; h2 stops; h3 works; h3 binds; h2 stops", "manager, bound on h3"},

		{"a stop after an eviction", "h1 leads; h1 claims; h2 works; h2 binds; h2 is evicted; h3 works; h3 binds; h2 stops", "manager, bound on h3"},
		{"evicted while the task runs on", "h1 leads; h1 claims; h2 works; h2 binds; h2 is evicted; h2 returns", "manager, bound on h2"},
		{"its return is not answered", "h1 leads; h1 claims; h2 works; h2 binds; h2 is evicted; h2 misses a reply; h2 returns", "manager, bound on h2"},
		{"evicted, claimed anew and not taken yet", "h1 leads; h1 claims; h2 works; h2 binds; h2 is evicted; h1 drops; h1 claims; h2 returns; h3 works = in use", "manager, bound on h2"},
		{"evicted, and given to another meanwhile", "h1 leads; h1 claims; h2 works; h2 binds; h2 is evicted; h3 works; h2 returns = node h3; h2 stops", "manager, given to h3"},
		{"evicted, and taken by another meanwhile", "h1 leads; h1 claims; h2 works; h2 binds; h2 is evicted; h3 works; h3 binds; h2 returns = in use by container task-on-h3; h2 stops", "manager, bound on h3"},
		{"evicted and let go, both", "h1 leads; h1 claims; h2 works; h2 binds; h2 is evicted; h1 drops; h2 returns; h2 stops", "free"},
		{"evicted, back, stopped", "h1 leads; h1 claims; h2 works; h2 binds; h2 is evicted; h2 returns; h2 stops; h1 drops", "free"},

		{"a new leader repeats the claim", "h1 leads; h1 claims; h3 leads; h3 repeats", "manager"},
		{"a new leader while the task runs", "h1 leads; h1 claims; h2 works; h2 binds; h3 leads; h3 repeats; h3 drops", "bound on h2"},
		{"a new leader claims what only a worker has", "h1 leads; h1 claims; h2 works; h2 binds; h1 drops; h3 leads; h3 repeats", "manager, bound on h2"},
		{"a leader that leads again", "h1 leads; h1 claims; h3 leads; h3 repeats; h1 leads; h1 repeats; h1 drops", "free"},
		{"the leader's agent is restarted", "h1 leads; h1 claims; h1 restarts; h1 repeats; h1 drops", "free"},
		{"the worker's agent is restarted", "h1 leads; h1 claims; h2 works; h2 binds; h2 restarts; h2 stops", "manager"},
		{"the worker's agent is restarted before it binds", "h1 leads; h1 claims; h2 works; h2 restarts; h2 binds", "manager, bound on h2"},
		{"the worker's engine makes the network anew", "h1 leads; h1 claims; h2 works; h2 binds; h2 stops; h2 works; h2 binds", "manager, bound on h2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				s := newSwarm(c)
				for step := range strings.SplitSeq(tt.steps, "; ") {
					step, words, refused := strings.Cut(step, " = ")
					err := s.act(step)
					switch {
					case !refused && err != nil:
						c.Fatalf("%s: %v", step, err)
					case refused && (err == nil || !strings.Contains(err.Error(), words)):
						c.Fatalf("%s: %v, want it refused with %q", step, err, words)
					}
				}
				if diff := cmp.Diff(tt.want, s.record()); diff != "" {
					c.Errorf("the task's address (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestClaimsOfTwoTasks: the manager is given another address for each.
func TestClaimsOfTwoTasks(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		s := newSwarm(c)
		s.must(s.act("h1 leads"))
		var given []string
		for range 3 {
			got, err := s.nodes["h1"].RequestAddress(c.Context(), AddressRequest{PoolID: s.nodes["h1"].leading})
			s.must(err)
			given = append(given, got.Addr().String())
		}
		if diff := cmp.Diff([]string{"10.0.1.2", "10.0.1.3", "10.0.1.4"}, given); diff != "" {
			c.Errorf("given (-want +got):\n%s", diff)
		}
	})
}

// TestClaimedIsNobodyElses: a plain network with the same addresses is given
// others, and refused this one.
func TestClaimedIsNobodyElses(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		s := newSwarm(c)
		s.must(s.act("h1 leads"))
		s.must(s.act("h1 claims"))
		def := store.Network{UUID: overlay, Name: "over", State: store.NetworkActive, Scope: store.ScopeSwarm}
		_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(store.NetworkKey("over"), store.Encode(def))}})
		s.must(err)
		plain := s.nodes["h3"].mustCreate(overlaySubnet)
		const want = "address 10.0.1.2 is a service's or task's of the swarm (network over)"
		if _, err := plain.run("web", taskAddress); err == nil || !strings.HasPrefix(err.Error(), want+" since ") {
			c.Errorf("--ip of a claimed address: %v, want %s", err, want)
		}
		if ct := plain.mustRun("web", ""); ct.ip() == taskAddress {
			c.Error("a plain container has the task's address")
		}
	})
}

// TestLostReleaseOfAClaim: the manager's release does not reach the store. It
// is no failure of the swarm's, and the managers find it by what they list.
func TestLostReleaseOfAClaim(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		s := newSwarm(c)
		h1 := s.nodes["h1"]
		s.must(s.act("h1 leads"))
		s.must(s.act("h1 claims"))
		h1.down()
		s.must(s.act("h1 drops"))
		h1.up()
		claims, err := h1.ManagerClaims(c.Context())
		s.must(err)
		it, _ := c.leaseAt(pool.DefaultSegment, taskAddress)
		want := []ManagerClaim{{Segment: pool.DefaultSegment, Address: netip.MustParseAddr(taskAddress), Network: overlay, Written: it.Modified}}
		if !slices.Equal(claims, want) {
			c.Fatalf("the swarm claims %v, want %v", claims, want)
		}
		if dropped, err := h1.DropManagerClaim(c.Context(), claims[0]); err != nil || !dropped {
			c.Errorf("dropped is %v, error %v", dropped, err)
		}
		if got := s.record(); got != "free" {
			c.Errorf("the address is claimed by %s", got)
		}
	})
}

// TestAnObservationOfAnEarlierClaim ends no later one: of the same leader, of
// another that found it standing, or of another life of the record.
func TestAnObservationOfAnEarlierClaim(t *testing.T) {
	for name, again := range map[string][]string{
		"made anew":                {"h1 drops", "h1 claims"},
		"made anew beside a task":  {"h2 works", "h2 binds", "h1 drops", "h1 repeats"},
		"found by the next leader": {"h2 leads", "h2 repeats"},
	} {
		t.Run(name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				s := newSwarm(c)
				s.play("h1 leads", "h1 claims")
				claims, err := s.nodes["h1"].ManagerClaims(c.Context())
				s.must(err)
				s.play(again...)
				was := s.record()
				if dropped, err := s.nodes["h1"].DropManagerClaim(c.Context(), claims[0]); err != nil || dropped {
					c.Errorf("dropped is %v, error %v", dropped, err)
				}
				if got := s.record(); got != was {
					c.Errorf("the address is claimed by %s, want %s", got, was)
				}
			})
		})
	}
}

// TestALateReleaseOfAnEarlierClaim ends no claim that another leader has made
// since, with or without a task beside it; that leader's own release does.
func TestALateReleaseOfAnEarlierClaim(t *testing.T) {
	for name, between := range map[string][]string{
		"a service's":       nil,
		"a task's":          {"h2 works", "h2 binds"},
		"a task's that ran": {"h2 works", "h2 binds", "h2 stops"},
	} {
		t.Run(name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				s := newSwarm(c)
				s.play("h1 leads", "h1 claims", "h2 leads", "h2 repeats")
				s.play(between...)
				was := s.record()
				s.play("h1 drops")
				if got := s.record(); got != was {
					c.Errorf("a late release left %q, want %q", got, was)
				}
				s.play("h2 drops")
				if got := s.record(); got == was {
					c.Errorf("the leader's release left %q", got)
				}
			})
		})
	}
}

// TestEndManagerClaims: those of the network that is gone, in the subnet that
// another one shares; a task that still runs keeps its address.
func TestEndManagerClaims(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		s := newSwarm(c)
		s.play("h1 leads", "h1 claims", "h2 works", "h2 binds")
		idle, err := s.nodes["h1"].RequestAddress(c.Context(), AddressRequest{PoolID: s.nodes["h1"].leading})
		s.must(err)
		subnets := []netip.Prefix{netip.MustParsePrefix(overlaySubnet)}
		end := func(id string) {
			s.must(s.nodes["h1"].EndManagerClaims(c.Context(), SwarmNetwork{ID: id, Segment: pool.DefaultSegment, Subnets: subnets}))
		}
		end("yxwvutsrqponmlkjihgfedcba")
		if got := s.record(); got != "manager, bound on h2" {
			c.Errorf("another network's end left %q", got)
		}
		end(overlay)
		if got := s.record(); got != "bound on h2" {
			c.Errorf("its own end left %q, want the running task's lease", got)
		}
		if it, rec := c.leaseAt(pool.DefaultSegment, idle.Addr().String()); it.Created != 0 {
			c.Errorf("the idle address is claimed still: %+v", rec)
		}
	})
}

// TestAnotherNetworksClaimIsNotRetaken: the swarm let go of a task of an
// evicted node, and claims its address for another network by now.
func TestAnotherNetworksClaimIsNotRetaken(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		s := newSwarm(c)
		s.play("h1 leads", "h1 claims", "h2 works", "h2 binds", "h2 is evicted")
		it, rec := c.leaseAt(pool.DefaultSegment, taskAddress)
		rec.Network = "yxwvutsrqponmlkjihgfedcba"
		s.must(s.act("h1 drops"))
		_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(it.Key, store.Encode(rec))}})
		s.must(err)
		if err := s.act("h2 returns"); err == nil {
			c.Error("the address was taken again")
		}
		s.must(s.act("h2 stops"))
		if got := s.record(); got != "manager" {
			c.Errorf("the address is %s", got)
		}
	})
}

// TestDropWhileAWorkerBinds: the claim moves on between the worker's look at
// it and its transaction.
func TestDropWhileAWorkerBinds(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		s := newSwarm(c)
		s.play("h1 leads", "h1 claims", "h2 works")
		s.nodes["h2"].lossy.forestall(binds, func() {
			if err := s.act("h1 drops"); err != nil {
				c.Error(err)
			}
		})
		s.must(s.act("h2 binds"))
		if got := s.record(); got != "bound on h2" {
			c.Errorf("the address is %s", got)
		}
	})
}

// TestDropWhileAWorkerTakes: whatever comes first, the worker has the address
// or was refused it, and never runs on one that is free.
func TestDropWhileAWorkerTakes(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		s := newSwarm(c)
		s.must(s.act("h1 leads"))
		for range 20 {
			s.must(s.act("h1 repeats"))
			var both sync.WaitGroup
			var taken error
			both.Go(func() { taken = s.act("h2 works") })
			both.Go(func() {
				if err := s.act("h1 drops"); err != nil {
					c.Errorf("drop: %v", err)
				}
			})
			both.Wait()
			if it, rec := c.leaseAt(pool.DefaultSegment, taskAddress); (taken == nil) != (it.Created != 0 && rec.Node == "h2") {
				c.Fatalf("the worker was answered %v, the store has %+v", taken, rec)
			}
			if taken == nil {
				s.must(s.act("h2 gives up"))
			}
			if got := s.record(); got != "free" {
				c.Fatalf("both are gone, and the address is %s", got)
			}
		}
	})
}

// TestAWorkerKeepsWhatANewerManagerWrote, and so does who takes its claim away.
func TestAWorkerKeepsWhatANewerManagerWrote(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		s := newSwarm(c)
		s.play("h1 leads", "h1 claims")
		it, rec := c.leaseAt(pool.DefaultSegment, taskAddress)
		rec.Unknown, rec.Claims.Unknown = `{"later":1}`, `{"later":2}`
		_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(it.Key, store.Encode(rec))}})
		s.must(err)
		for _, step := range []string{"h2 works", "h2 binds", "h2 stops", "h3 works"} {
			s.must(s.act(step))
			if _, now := c.leaseAt(pool.DefaultSegment, taskAddress); now.Unknown != rec.Unknown || now.Claims.Unknown != rec.Claims.Unknown {
				c.Errorf("after %q: %+v, %+v", step, now, now.Claims)
			}
		}
	})
}
