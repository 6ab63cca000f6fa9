package agent

import (
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cluster/store/session"
	"gvlan/driver/journal/disk"
)

// TestJournalOfAnotherNode: a copied data directory holds leases that are
// another node's, and a release from it would be taken for that one's.
func TestJournalOfAnotherNode(t *testing.T) {
	j, err := disk.Open(filepath.Join(t.TempDir(), "journal.db"), "boot", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	kept := past{j.Bucket("past")}
	for _, node := range []string{"clone", "h1", "h1"} { // h1 is what a clone is called after its name was held
		if err := kept.claimJournal(node, "/data"); err != nil {
			t.Fatal(err)
		}
	}
	if err := kept.SavePast(session.Memory{Cluster: "c1"}); err != nil {
		t.Fatal(err)
	}
	err = kept.claimJournal("h2", "/data")
	if err == nil {
		t.Fatal("the journal of h1 serves h2")
	}
	for _, want := range []string{"--data-dir /data", "node h1's", "empty folder", "--node-name h1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}
