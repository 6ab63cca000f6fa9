package chaos

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"gvlan/tests/chaos/cluster"
)

// mutant is an agent that lacks one compare, and the seed that finds it.
type mutant struct {
	name  string
	swarm bool
	play  string // the fault that brings about what the compare is for
	patch cluster.Patch
}

const sessionFile = "cluster/store/session/session.go"

var mutants = []mutant{
	{name: "create", play: "kill -9 of an agent", patch: cluster.Patch{File: "ipam/leases.go", Old: "append([]store.Cond{store.Absent(key)}, also...)", New: "also"}},
	{name: "gate", play: "late gift", patch: cluster.Patch{File: sessionFile, Old: "append(conds, store.Absent(store.GateKey()), store.NotBefore(newestKey, seen.newest.At))", New: "append(conds, store.NotBefore(newestKey, seen.newest.At))"}},
	{name: "own last write", play: "write lost", patch: cluster.Patch{File: sessionFile, Old: "[]store.Cond{store.Unchanged(epochKey, held.epochRev), store.NotBefore(lastKey, seen.last)}", New: "[]store.Cond{store.Unchanged(epochKey, held.epochRev)}"}},
	{name: "newest write", play: "another's write lost", patch: cluster.Patch{File: sessionFile, Old: "append(conds, store.Absent(store.GateKey()), store.NotBefore(newestKey, seen.newest.At))", New: "append(conds, store.Absent(store.GateKey()))"}},
	{name: "epoch", play: "question outlives its agent", patch: cluster.Patch{File: "cluster/store/session/session.go", Old: "[]store.Cond{store.Unchanged(epochKey, held.epochRev), store.NotBefore(lastKey, seen.last)}", New: "[]store.Cond{store.NotBefore(lastKey, seen.last)}"}},
	{name: "token of a release", play: "release sent twice", patch: cluster.Patch{File: "ipam/leases.go", Old: "store.Txn{If: []store.Cond{cond}, Then: then, Else: []store.Op{store.Get(key)}}", New: "store.Txn{If: []store.Cond{cond}[:0], Then: then, Else: []store.Op{store.Get(key)}}"}},
	{name: "token of a binding", play: "late binding", patch: cluster.Patch{File: "ipam/bindings.go", Old: "		txn.If = append(txn.If, store.SameLife(key, l.Created))\n", New: ""}},
	{name: "claim of a worker", swarm: true, play: "two workers", patch: cluster.Patch{File: "ipam/claims.go", Old: "		If:    []store.Cond{store.Unchanged(at.Key(), it.Modified)},\n", New: ""}},
	{name: "claim of the manager", swarm: true, play: "manager ends late", patch: cluster.Patch{File: "ipam/claims.go", Old: "store.Txn{If: []store.Cond{store.Unchanged(at.Key(), it.Modified)}, Then: then}", New: "store.Txn{Then: then}"}},
	{name: "claim of a binding", swarm: true, play: "worker binds late", patch: cluster.Patch{File: "ipam/bindings.go", Old: "		txn.If = append(txn.If, store.Unchanged(key, it.Modified))\n		bound :=", New: "		bound :="}},
	{name: "state of the definition", play: "late start", patch: cluster.Patch{File: "ipam/bindings.go", Old: "		txn.If = append(txn.If, store.Unchanged(key, n.Definition))\n", New: ""}},
}

// TestMutantsFit: each of them takes out what stands in the product today.
func TestMutantsFit(t *testing.T) {
	dir := t.TempDir()
	for _, m := range mutants {
		if err := cluster.Patched(t.Context(), dir, m.name, m.patch); err != nil {
			t.Errorf("mutant %q: %v", m.name, err)
		}
	}
}

// TestMutants: the checker finds every compare that an agent lacks. Without
// GVLAN_MUTANTS or GVLAN_SOAK it is tried on one only.
func TestMutants(t *testing.T) {
	chosen := mutants[:1]
	if os.Getenv("GVLAN_MUTANTS")+os.Getenv("GVLAN_SOAK") != "" {
		chosen = mutants
	}
	for _, m := range chosen {
		t.Run(m.name, func(t *testing.T) {
			found := build(t, m.patch).provoke(t, m)
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
func (b built) provoke(t *testing.T, m mutant) []string {
	d := b.start(t, 1, cluster.Size{Hosts: 3, Members: 1, Swarm: m.swarm})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var faults sync.WaitGroup
	faults.Go(func() {
		defer cancel()
		d.Repeat(ctx, m.play)
	})
	d.Containers(ctx, 1)
	faults.Wait()
	return d.Judge()
}
