package chaos

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"gvlan/tests/chaos/cluster"
	"gvlan/tests/chaos/drive"
)

// mutant is an agent that lacks one compare, and the seed that finds it.
type mutant struct {
	name  string
	play  string // the fault that brings about what the compare is for
	patch cluster.Patch
}

const sessionFile = "cluster/store/session/session.go"

var mutants = []mutant{
	{name: "gate", play: "late gift", patch: cluster.Patch{File: sessionFile, Old: "append(conds, store.Absent(store.GateKey()), store.NotBefore(newestKey, seen.newest.At))", New: "append(conds, store.NotBefore(newestKey, seen.newest.At))"}},
	{name: "own last write", play: "write lost", patch: cluster.Patch{File: sessionFile, Old: "[]store.Cond{store.Unchanged(epochKey, held.epochRev), store.NotBefore(lastKey, seen.last)}", New: "[]store.Cond{store.Unchanged(epochKey, held.epochRev)}"}},
	{name: "newest write", play: "another's write lost", patch: cluster.Patch{File: sessionFile, Old: "append(conds, store.Absent(store.GateKey()), store.NotBefore(newestKey, seen.newest.At))", New: "append(conds, store.Absent(store.GateKey()))"}},
	{name: "create", play: "kill -9 of an agent", patch: cluster.Patch{File: "ipam/leases.go", Old: "		If:    []store.Cond{store.Absent(key)},\n		Then:  []store.Op{store.Put(key, store.Encode(ls.Record(l)))},", New: "		Then:  []store.Op{store.Put(key, store.Encode(ls.Record(l)))},"}},
	{name: "epoch", play: "question outlives its agent", patch: cluster.Patch{File: "cluster/store/session/session.go", Old: "[]store.Cond{store.Unchanged(epochKey, held.epochRev), store.NotBefore(lastKey, seen.last)}", New: "[]store.Cond{store.NotBefore(lastKey, seen.last)}"}},
	{name: "token of a release", play: "release sent twice", patch: cluster.Patch{File: "ipam/leases.go", Old: "store.Txn{If: []store.Cond{cond}, Then: then, Else: []store.Op{store.Get(key)}}", New: "store.Txn{If: []store.Cond{cond}[:0], Then: then, Else: []store.Op{store.Get(key)}}"}},
	{name: "token of a binding", play: "late binding", patch: cluster.Patch{File: "ipam/bindings.go", Old: "		txn.If = append(txn.If, store.SameLife(key, l.Created))\n", New: ""}},
	{name: "state of the definition", play: "late start", patch: cluster.Patch{File: "ipam/bindings.go", Old: "		txn.If = append(txn.If, store.Unchanged(key, n.Definition))\n", New: ""}},
}

// TestMutants: the checker finds every compare that an agent lacks.
func TestMutants(t *testing.T) {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	etcd, err := cluster.BuildEtcd(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			agent, err := cluster.Build(t.Context(), dir, fmt.Sprint("mutant", i), m.patch)
			if err != nil {
				t.Fatal(err)
			}
			found := provoke(t, dir, agent, etcd, m.play)
			if len(found) == 0 {
				t.Errorf("an agent without this compare passes")
			}
			for _, f := range found[:min(3, len(found))] {
				t.Log("found: ", f)
			}
		})
	}
}

// provoke has one thing go wrong again and again, while containers come and go,
// until something is found or a minute has passed.
func provoke(t *testing.T, dir, agent, etcd, play string) []string {
	folder, err := os.MkdirTemp(dir, "run")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(t.Context(), folder, agent, etcd, cluster.Size{Hosts: 3, Members: 1})
	if c != nil {
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	if err != nil {
		t.Fatal(err)
	}
	d := drive.New(c, 1, t.Logf)
	if err := d.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { d.Repeat(ctx, play); cancel() }()
	d.Containers(ctx, 1)
	return d.Judge()
}
