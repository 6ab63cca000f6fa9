package main

import (
	"path/filepath"
	"strings"
	"testing"

	"gvlan/driver/journal"
)

// TestJournalOfAnotherNode: a copied data directory holds leases that are
// another node's, and a release from it would be taken for that one's.
func TestJournalOfAnotherNode(t *testing.T) {
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	kept := past{j.Bucket("past")}
	for range 2 {
		if err := kept.claimJournal("h1", "/data"); err != nil {
			t.Fatal(err)
		}
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
