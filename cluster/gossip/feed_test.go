package gossip

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFeedCoalesces(t *testing.T) {
	f := newFeed[int](2)
	f.put("a", 1)
	f.put("b", 2)
	f.put("a", 3)
	if diff := cmp.Diff(Batch[int]{Items: []int{3, 2}}, f.take()); diff != "" {
		t.Errorf("batch (-want +got):\n%s", diff)
	}
	f.put("c", 1)
	f.put("d", 2)
	f.put("e", 3)
	f.put("c", 4)
	if diff := cmp.Diff(Batch[int]{Resync: true, Items: []int{4, 2}}, f.take()); diff != "" {
		t.Errorf("overflowing batch (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Batch[int]{}, f.take()); diff != "" {
		t.Errorf("batch after it (-want +got):\n%s", diff)
	}
}

func TestFeedServes(t *testing.T) {
	f := newFeed[int](8)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.serve(ctx); close(done) }()
	// Nobody reads yet: putting does not wait.
	for i := range 100 {
		f.put("a", i)
	}
	for last := -1; last != 99; {
		last = (<-f.out).Items[0]
	}
	cancel()
	<-done
}
