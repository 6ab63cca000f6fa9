package embedded_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
)

// member is one of several servers.
type member struct {
	*running
	config   embedded.Config
	identity *authority.Identity
	id       uint64
}

// group is a cluster of members, and a client of all of them.
type group struct {
	of         etcdtest.Authority
	members    []*member
	client     *etcd.Client
	membership *etcd.Membership
}

// found begins a cluster of one member.
func found(t *testing.T) *group {
	t.Helper()
	g := &group{of: etcdtest.NewAuthority(t)}
	first := g.prepare(t, "a")
	first.running = start(t, first.config).ready(t)
	g.connect(t)
	return g
}

// prepare makes a member that is yet to start.
func (g *group) prepare(t *testing.T, name string) *member {
	t.Helper()
	identity := g.of.Identity(t, name, true)
	m := &member{config: g.of.Member(t, identity, name), identity: identity}
	g.members = append(g.members, m)
	return m
}

func (g *group) endpoints() (all []string) {
	for _, m := range g.members {
		all = append(all, m.config.Listen.String())
	}
	return all
}

// connect makes a client of the members there are.
func (g *group) connect(t *testing.T) {
	t.Helper()
	g.client = client(t, etcd.Config{Endpoints: g.endpoints(), TLS: g.of.Client(t, "node")})
	g.membership = etcd.NewMembership(g.client)
}

// learner adds a member as a learner, and runs it.
func (g *group) learner(t *testing.T, name string) *member {
	t.Helper()
	m := g.add(t, name)
	m.running = start(t, m.config).ready(t)
	if got, want := m.PeerURL(), m.peerURL(); got != want {
		t.Fatalf("member %s is at %s, want %s", name, got, want)
	}
	g.reach(t)
	return m
}

// add adds a member as a learner, which is yet to start.
func (g *group) add(t *testing.T, name string) *member {
	t.Helper()
	m := g.prepare(t, name)
	m.config.Others = map[string]string{}
	for _, other := range g.members {
		m.config.Others[other.config.Name] = other.peerURL()
	}
	g.invite(t, m)
	return m
}

// invite gives a member that is yet to start its place as a learner.
func (g *group) invite(t *testing.T, m *member) {
	t.Helper()
	eventually(t, func() (err error) {
		m.id, err = g.membership.AddLearner(t.Context(), m.peerURL())
		return err
	})
}

// joinAgain invites one that was taken out, and runs it.
func (g *group) joinAgain(t *testing.T, m *member) {
	t.Helper()
	g.invite(t, m)
	m.running = start(t, m.config).ready(t)
	if s := m.Standing(); !s.Learner || s.ID != m.id {
		t.Errorf("member %s stands as %+v, want a learner %x", m.config.Name, s, m.id)
	}
}

// reach has the client ask all members.
func (g *group) reach(t *testing.T) {
	t.Helper()
	if err := g.client.SetEndpoints(g.endpoints()); err != nil {
		t.Fatal(err)
	}
}

func (m *member) peerURL() string { return "https://" + m.config.Peer.String() }

// memberVariable has the test binary run a member instead of tests.
const memberVariable = "GVLAN_TEST_MEMBER"

// process is what another process needs to run a member.
type process struct {
	Dir, Name    string
	Listen, Peer netip.AddrPort
	Files        authority.Files
	Others       map[string]string
}

func TestMain(m *testing.M) {
	if of := os.Getenv(memberVariable); of != "" {
		fmt.Fprintln(os.Stderr, runMember(of))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func runMember(of string) error {
	var p process
	if err := json.Unmarshal([]byte(of), &p); err != nil {
		return err
	}
	server, err := embedded.New(embedded.Config{Dir: p.Dir, Name: p.Name, Listen: p.Listen, Peer: p.Peer, Files: p.Files, Others: p.Others, Log: discard})
	if err != nil {
		return err
	}
	go func() {
		<-server.Ready()
		fmt.Println("ready")
	}()
	return server.Run(context.Background())
}

// spawn runs a member in a process of its own until kill is called, or the
// test ends.
func spawn(t *testing.T, c embedded.Config) (kill func()) {
	t.Helper()
	of, err := json.Marshal(process{c.Dir, c.Name, c.Listen, c.Peer, c.Files, c.Others})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), memberVariable+"="+string(of))
	command.Stderr = t.Output()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the member's process says %q, %v", line, err)
	}
	return kill
}

// eventually asks again while etcd needs time.
func eventually(t *testing.T, ask func() error) {
	t.Helper()
	guard := time.Now().Add(time.Minute)
	for {
		err := ask()
		if err == nil {
			return
		}
		wait := errors.Is(err, store.ErrUnavailable) || errors.Is(err, etcd.ErrNotInStep) || errors.Is(err, etcd.ErrAtRisk)
		if !wait || time.Now().After(guard) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// ends waits for Run's error.
func (r *running) ends(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(time.Minute):
		t.Fatal("the server goes on")
		return nil
	}
}

// One becomes three, whose leader may be killed; who is removed knows, whether it
// runs or starts later.
func TestThreeMembers(t *testing.T) {
	t.Parallel()
	g := found(t)
	put(t, g.client, "/before")
	b := g.add(t, "b")
	kill := spawn(t, b.config)
	c := g.learner(t, "c")
	if s := c.Standing(); !s.Learner || s.ID != c.id {
		t.Errorf("member c stands as %+v, want a learner %x", s, c.id)
	}
	// Two of the client's three members answer nothing now.
	for range 6 {
		put(t, g.client, "/while-two-learn")
		if _, err := g.client.Get(t.Context(), "/before"); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		eventually(t, func() (err error) {
			for _, err = range g.client.Watch(t.Context(), store.Prefix("/"), 0) {
				break
			}
			return err
		})
	}
	for _, m := range []*member{b, c} {
		eventually(t, func() error { return g.membership.Promote(t.Context(), m.id) })
		if err := g.membership.Promote(t.Context(), m.id); err != nil {
			t.Errorf("Promote of a voter: %v", err)
		}
	}
	all, err := g.membership.Members(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("Members: %+v, %v; want three", all, err)
	}
	a := g.members[0]
	a.id = a.Standing().ID
	for i, m := range g.members {
		got := all[indexOf(all, m.id)]
		want := etcd.MemberInfo{ID: m.id, Name: m.config.Name, PeerURL: m.peerURL(), Peer: m.config.Peer.String(), Client: m.config.Listen.String(), Started: true}
		if got != want {
			t.Errorf("member %d is %+v, want %+v", i, got, want)
		}
	}

	eventually(t, func() error { return g.membership.MoveLeader(t.Context(), b.id, a.config.Listen.String()) })
	if err := g.membership.MoveLeader(t.Context(), c.id, c.config.Listen.String()); !errors.Is(err, etcd.ErrNotLeader) {
		t.Errorf("MoveLeader of a follower: %v, want ErrNotLeader", err)
	}
	if s, err := g.membership.Status(t.Context(), c.config.Listen.String()); err != nil || s.ID != c.id || s.Leader != b.id || s.Learner {
		t.Errorf("Status: %+v, %v; want leader %x", s, err, b.id)
	}
	kill()
	eventually(t, func() error { return write(t, g.client, "/without-the-leader") })

	eventually(t, func() error { return g.membership.Remove(t.Context(), b.id) })
	if err := g.membership.Remove(t.Context(), b.id); err != nil {
		t.Errorf("Remove of who is removed: %v", err)
	}
	if err := start(t, b.config).ends(t); !errors.Is(err, embedded.ErrRemoved) {
		t.Errorf("Run of one removed while it was away: %v, want ErrRemoved", err)
	}
	if err := embedded.Discard(b.config.Dir); err != nil {
		t.Fatal(err)
	}
	b.config.Others = map[string]string{"a": a.peerURL(), "b": "https://127.0.0.1:1", "c": c.peerURL()} // its own name counts for nothing
	g.joinAgain(t, b)
	eventually(t, func() error { return g.membership.Remove(t.Context(), c.id) })
	if err := c.ends(t); !errors.Is(err, embedded.ErrRemoved) {
		t.Errorf("Run of one removed while it ran: %v, want ErrRemoved", err)
	}
	eventually(t, func() error { return write(t, g.client, "/alone") })
}

// Who was taken out before it had joined is no member, and begins no cluster of
// its own: it joins when it is asked again.
func TestTakenOutBeforeItJoined(t *testing.T) {
	t.Parallel()
	g := found(t)
	b := g.add(t, "b")
	eventually(t, func() error { return g.membership.Remove(t.Context(), b.id) })
	if err := start(t, b.config).ends(t); err == nil || errors.Is(err, embedded.ErrRemoved) {
		t.Fatalf("Run of a member that the others have taken out: %v, want etcd's refusal", err)
	}
	if _, err := os.Stat(filepath.Join(b.config.Dir, "member")); err != nil {
		t.Fatalf("etcd leaves nothing of a join that was refused: %v", err)
	}
	if embedded.Holds(b.config.Dir) {
		t.Error("Holds: true of what a refused join leaves, want false")
	}
	time.Sleep(time.Second) // an id is made of the address and the second, and that of one taken out is never a member's again
	g.joinAgain(t, b)
	if !embedded.Holds(b.config.Dir) {
		t.Error("Holds: false of a member, want true")
	}
}

func indexOf(all []etcd.MemberInfo, id uint64) int {
	for i, m := range all {
		if m.ID == id {
			return i
		}
	}
	return 0
}

func write(t *testing.T, kv store.KV, key string) error {
	t.Helper()
	_, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(key, []byte("x"))}})
	return err
}

// One that was alone opens with its data, and tells where it is now.
func TestAloneOpens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	alone := start(t, embedded.Config{Dir: dir}).ready(t)
	put(t, client(t, etcd.Config{Endpoints: []string{alone.Endpoint()}}), "/k")
	before := alone.Standing().ID
	if err := alone.stop(); err != nil {
		t.Fatal(err)
	}
	of := etcdtest.NewAuthority(t)
	c := of.Member(t, of.Identity(t, "a", true), "a")
	c.Dir = dir
	server := start(t, c).ready(t)
	kv := client(t, etcd.Config{Endpoints: []string{c.Listen.String()}, TLS: of.Client(t, "node")})
	if _, err := kv.Get(t.Context(), "/k"); err != nil {
		t.Fatal(err)
	}
	// Root of its host still comes in by the socket, without a certificate.
	put(t, client(t, etcd.Config{Endpoints: []string{"unix://" + filepath.Join(dir, "client.sock")}}), "/by-socket")
	membership := etcd.NewMembership(kv)
	if err := membership.Update(t.Context(), server.Standing().ID, server.PeerURL()); err != nil {
		t.Fatal(err)
	}
	want := etcd.MemberInfo{ID: before, Name: "a", PeerURL: server.PeerURL(), Peer: c.Peer.String(), Client: c.Listen.String(), Started: true}
	if all, err := membership.Members(t.Context()); err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("Members: %+v, %v; want %+v", all, err, want)
	}
}

// A certificate that is refused while its node is connected: the watch ends,
// nothing is written any more, and others notice nothing.
func TestRefusedWhileConnected(t *testing.T) {
	t.Parallel()
	of := etcdtest.NewAuthority(t)
	identity := of.Identity(t, "a", true)
	c := of.Member(t, identity, "a")
	start(t, c).ready(t)
	thief, honest := of.Identity(t, "thief", false), of.Identity(t, "honest", false)
	connect := func(of *authority.Identity) (*etcd.Client, <-chan struct{}) {
		kv, err := etcd.New(etcd.Config{Endpoints: []string{c.Listen.String()}, TLS: of.Client(), Attempt: time.Second, Log: discard})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = kv.Close() })
		eventually(t, func() error { return write(t, kv, "/k") })
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		stands, events := make(chan struct{}, 1), make(chan struct{}, 8)
		go func() {
			for batch, err := range kv.Watch(ctx, store.Prefix("/secret"), 0) {
				switch {
				case err != nil:
					return
				case len(batch.Events) > 0:
					events <- struct{}{}
				default:
					select {
					case stands <- struct{}{}:
					default:
					}
				}
			}
		}()
		<-stands
		return kv, events
	}
	stolen, none := connect(thief)
	kv, events := connect(honest)
	of.Refuse(t, identity, thief.Certificate())
	put(t, kv, "/secret-1")
	<-events
	for range 3 {
		if err := write(t, stolen, "/stolen"); err == nil {
			t.Error("a refused certificate wrote")
		}
	}
	if _, err := kv.Get(t.Context(), "/stolen"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of what a refused certificate wrote: %v, want ErrNotFound", err)
	}
	// Its watch tries to be taken up again, in vain.
	put(t, kv, "/secret-2")
	<-events
	select {
	case <-none:
		t.Error("a refused certificate saw what was written")
	case <-time.After(2 * time.Second):
	}
}
