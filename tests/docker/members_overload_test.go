package docker_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// overloadFor is how long the machine has twice as much to do as it can.
func overloadFor() time.Duration {
	if os.Getenv("GVLAN_SOAK") != "" {
		return 5 * time.Minute
	}
	return 30 * time.Second
}

// TestMembersOverload keeps every core busy twice over under five agents,
// which ask each other meanwhile. Members that are taken for dead and come
// back are counted, and so are names not answered; whatever they thought,
// all are ready again afterwards, and nobody lost its place in etcd for good.
// It runs beside nothing else, for the sake of its figures.
func TestMembersOverload(t *testing.T) {
	c := newCluster(t, options{hosts: lab.Same(5, lab.NoDocker), args: []string{"--gossip", "on"}})
	c.allReady()
	before := c.epochs()
	var burners []*lab.Process
	for i := range 2 * runtime.NumCPU() {
		p := must(c.Peer.Start(fmt.Sprint("burner", i), nil, "sh", "-c", "while :; do :; done"))(t)
		t.Cleanup(func() { _ = p.Kill() })
		burners = append(burners, p)
	}
	judgements, wrong, unanswered := 0, 0, 0
	for began := time.Now(); time.Since(began) < overloadFor(); time.Sleep(time.Second) {
		for _, h := range c.Hosts {
			for _, n := range c.nodes(h) {
				judgements++
				if n.State != ready {
					wrong++
				}
			}
			if _, err := h.Exec(t.Context(), "dig", "@127.0.0.1", "-p", "5354", "+short", "gvlan.internal", "SOA"); err != nil {
				unanswered++
			}
		}
	}
	for _, p := range burners {
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	idle := time.Now()
	c.allReady()
	fmt.Printf("BENCH members_overload_flaps %d\n", c.flaps())
	fmt.Printf("BENCH members_overload_not_ready_share %.4f\n", float64(wrong)/float64(judgements))
	fmt.Printf("BENCH members_overload_names_unanswered %d\n", unanswered)
	fmt.Printf("BENCH members_overload_heal_s %.1f\n", time.Since(idle).Seconds())
	for name, epoch := range c.epochs() {
		if epoch != before[name] {
			t.Errorf("the epoch of %s went from %d to %d under load: its agent lost its place", name, before[name], epoch)
		}
	}
}

// epochs are those of all nodes, as the first host shows them.
func (c *cluster) epochs() map[string]int64 {
	c.t.Helper()
	all := map[string]int64{}
	for name, n := range c.nodes(c.Hosts[0]) {
		all[name] = n.Epoch
	}
	return all
}
