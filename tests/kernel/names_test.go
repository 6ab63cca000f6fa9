package kernel_test

import (
	"errors"
	"os"
	"strings"
)

// namesWithoutNftables: this kernel has no nftables for IPv4, as old ones have
// none at all. Containers start as ever, and the agent, which is new, says once
// why names are left to Docker.
func namesWithoutNftables(p *play) {
	t, h := p.t, p.Hosts[0]
	if out, err := h.Exec(t.Context(), "nft", "add", "table", "ip", "probe"); err == nil {
		t.Fatalf("this kernel has nftables: %s", out)
	}
	h.MustDocker(t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet=10.92.0.0/24", "-o", "parent=eth1", "lan")
	for _, name := range []string{"one", "two"} {
		h.MustDocker(t, "run", "-d", "--net=lan", "--name", name, "busybox", "sleep", "100000")
	}
	p.adopt(h, "one")
	p.adopt(h, "two")
	p.see("names without nftables", p.place("one"), []check{reaches("two"), knows("two", "lan")})
	const words = "names are not answered inside containers on this host"
	said := func() int {
		text, err := os.ReadFile(p.agents[0].Log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), words)
	}
	p.eventually("the agent to say so", func() error {
		if said() == 0 {
			return errors.New("it has not")
		}
		return nil
	})
	h.MustDocker(t, "restart", "-t0", "two")
	if times := said(); times != 1 {
		t.Errorf("the agent said %d times that %s, want once", times, words)
	}
	p.clear()
	p.tidy()
}
