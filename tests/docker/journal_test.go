package docker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestDamagedJournal: a host's journal is damaged while its agent is down.
// The agent starts all the same, keeps the file for who wants to look at it,
// and everything that runs keeps its address, its name and its network.
func TestDamagedJournal(t *testing.T) {
	onMixed(t, 2, func(c *cluster) {
		for _, d := range []struct {
			name, subnet string
			own          bool // with a network of this host only beside
			damage       func([]byte)
		}{
			{"freelist", "10.161.0", false, func(raw []byte) { clear(freelist(raw)) }},
			{"meta", "10.162.0", true, func(raw []byte) { clear(raw[:2*os.Getpagesize()]) }},
		} {
			c.scenario(d.name, func(c *cluster) {
				h1, h2 := c.Hosts[0], c.Hosts[1]
				c.network(h1, d.name, "--subnet", d.subnet+".0/24", "-o", "parent=eth1")
				web := c.run(h1, d.name, "web")
				fixed := c.run(h1, d.name, "fixed", "--ip", d.subnet+".50")
				db := c.run(h2, d.name, "db")
				takenBack := func() {}
				if d.own {
					takenBack = c.ownNetwork(h1, d.subnet[:len(d.subnet)-1]+"8.0/24")
				}
				if err := c.agents[0].Kill(); err != nil {
					c.t.Fatal(err)
				}
				path := h1.Path("/var/lib/gvlan/journal.db")
				raw := must(os.ReadFile(path))(c.t)
				d.damage(raw)
				if err := os.WriteFile(path, raw, 0o600); err != nil {
					c.t.Fatal(err)
				}
				c.startAgain(0)
				c.logged(0, "the journal is damaged: it is set aside", "journal.db.damaged-")
				c.waitTrusted(h1)
				c.audit()
				for _, addr := range []string{web.String(), fixed.String()} {
					c.refused(h2, "in use by container", "run", "--rm", "--network", d.name, "--ip", addr, "busybox", "true")
				}
				c.oneOwner(web, h1)
				c.oneOwner(fixed, h1)
				c.reaches(h1, "web", db)
				c.reaches(h1, "fixed", web)
				h1.MustDocker(c.t, "exec", "web", "ping", "-c", "1", "-w", "20", "db")
				h2.MustDocker(c.t, "exec", "db", "ping", "-c", "1", "-w", "20", "web")
				takenBack()
				for _, name := range []string{"web", "fixed"} {
					h1.MustDocker(c.t, "restart", "-t", "0", name)
				}
				if now := c.address(h1, d.name, "fixed"); now != fixed {
					c.t.Errorf("restarted, fixed has %s, want %s", now, fixed)
				}
				c.run(h1, d.name, "new")
			})
		}
	})
}

// ownNetwork makes a network of one host with a container on it, and returns
// what is to be true of both once the journal was lost. What the lost journal
// owed for such a network is found by reconcile after its removal.
func (c *cluster) ownNetwork(h *lab.Host, subnet string) (takenBack func()) {
	c.t.Helper()
	h.MustDocker(c.t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "-o", "scope=local", "--subnet", subnet, "-o", "parent=eth1", "own")
	lone := c.run(h, "own", "lone")
	shows := func(what string, on *lab.Host, words ...string) {
		c.t.Helper()
		eventually(c.t, what, func() error {
			if out := c.gvlan(on, words...); !strings.Contains(out, "own ") {
				return errors.New(out)
			}
			return nil
		})
	}
	shows("the host to tell of its local network", c.Hosts[1], "network", "ls")
	return func() {
		c.t.Helper()
		shows("the local network to be taken back", h, "status")
		c.oneOwner(lone, h)
		if other := c.run(h, "own", "other"); other == lone {
			c.t.Errorf("%s of the local network was given twice", lone)
		}
		h.MustDocker(c.t, "restart", "-t", "0", "lone")
	}
}

// freelist is the page of a journal that lists the free ones, as the younger
// of its two meta pages names it.
func freelist(raw []byte) []byte {
	const header, list, txid = 16, 32, 48
	page := os.Getpagesize()
	meta := raw[header:]
	if other := raw[page+header:]; binary.LittleEndian.Uint64(other[txid:]) > binary.LittleEndian.Uint64(meta[txid:]) {
		meta = other
	}
	at := int(binary.LittleEndian.Uint64(meta[list:])) * page
	return raw[at : at+page]
}

// TestDamagedEtcd: the write-ahead log of the embedded etcd is cut while its
// agent is down. Everything that asks is told what is damaged and the way
// out, what runs goes on, and the way out is one.
func TestDamagedEtcd(t *testing.T) {
	t.Parallel()
	c := newBareCluster(t, options{hosts: lab.Same(1, lab.Docker28)})
	h := c.Hosts[0]
	c.agents[0] = c.agent(h, c.args...)
	c.waitTrusted(h)
	c.network(h, "lan1", "--subnet", "10.163.0.0/24", "-o", "parent=eth1")
	web := c.run(h, "lan1", "web")
	start := func() {
		t.Helper()
		if err := c.agents[0].Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.agents[0].Kill(); err != nil {
		t.Fatal(err)
	}
	logs := must(filepath.Glob(h.Path("/var/lib/gvlan/etcd/member/wal/*.wal")))(t)
	raw := must(os.ReadFile(logs[0]))(t)
	used := len(bytes.TrimRight(raw, "\x00"))
	if err := os.Truncate(logs[0], int64(used/2)); err != nil {
		t.Fatal(err)
	}
	start()
	const folder = "/var/lib/gvlan/etcd/member"
	eventually(t, "the status to say what is damaged", func() error {
		out, err := h.Exec(t.Context(), c.binary, "status")
		if err == nil && (!strings.Contains(out, "damaged: "+folder+"/wal: the write-ahead log ends at entry") || !strings.Contains(out, "gvlan recover")) {
			err = errors.New(out)
		}
		return err
	})
	c.refused(h, "the data of the embedded etcd is damaged: "+folder+"/wal", "run", "--rm", "--network", "lan1", "busybox", "true")
	c.oneOwner(web, h)

	if err := c.agents[0].Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.MustExec(t, "mv", folder, folder+".damaged")
	start()
	c.logged(0, "gvlan recover")
	eventually(t, "the store to be trusted again", func() error {
		_, err := h.Exec(t.Context(), c.binary, "recover")
		return err
	})
	c.waitNetwork(h, "lan1")
	c.refused(h, "in use by container", "run", "--rm", "--network", "lan1", "--ip", web.String(), "busybox", "true")
	c.oneOwner(web, h)
	if other := c.run(h, "lan1", "other"); other == web {
		t.Errorf("%s was given twice", web)
	}
}
