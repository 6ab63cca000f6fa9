package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testWhisper makes a whisper whose node knows only "friend".
func testWhisper() (*whisper, func(senderID) (string, bool)) {
	w := newWhisper("me", &counters{}, func() int { return 3 })
	return w, func(id senderID) (string, bool) { return "friend", id == senderOf("friend") }
}

func TestWhisperHandsOnNewsOnce(t *testing.T) {
	w, sender := testWhisper()
	hear := func(from string, relay bool, h Hint) {
		w.receive(frame{from: senderOf(from), relay: relay, hint: h}.encode(), sender)
	}
	id := IDOf("/networks/lan1")
	hear("friend", true, Hint{Kind: Networks, ID: id, Rev: 5})
	hear("friend", true, Hint{Kind: Networks, ID: id, Rev: 5})   // again
	hear("friend", true, Hint{Kind: Networks, ID: id, Rev: 4})   // late
	hear("friend", false, Hint{Kind: Networks, ID: id, Rev: 6})  // for this node alone
	hear("stranger", true, Hint{Kind: Networks, ID: id, Rev: 7}) // of nobody
	w.receive([]byte("rubbish"), sender)

	want := Batch[Heard]{Items: []Heard{{From: "friend", Hint: Hint{Kind: Networks, ID: id, Rev: 6}}}}
	if diff := cmp.Diff(want, w.heard.take()); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	counted := Counters{HintsHeard: 2, HintsStale: 2, HintsIgnored: 2, HintsRelayed: 1}
	if diff := cmp.Diff(counted, w.counts.get()); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	if n := w.relay.NumQueued(); n != 1 {
		t.Errorf("%d hints wait to be passed on, want 1", n)
	}
}

func TestWhisperSends(t *testing.T) {
	w, _ := testWhisper()
	direct := map[string]int{}
	send := func(node string, raw []byte) error {
		direct[node]++
		if node == "gone" {
			return errNotMember
		}
		return nil
	}
	w.sendOne(told{hint: Hint{Rev: 1}, to: []string{"a", "gone"}}, send)
	if diff := cmp.Diff(map[string]int{"a": 1, "gone": 1}, direct); diff != "" {
		t.Errorf("sent directly (-want +got):\n%s", diff)
	}
	w.sendOne(told{hint: Hint{Rev: 2}}, send)
	w.sendOne(told{hint: Hint{Rev: 3}, to: make([]string, targetLimit+1)}, send)
	if n := w.relay.NumQueued(); n != 1 {
		t.Errorf("%d hints about one record wait in the gossip, want the newest", n)
	}
	for range toldLimit + 5 {
		w.tell(Hint{Rev: 4}, nil)
	}
	if c := w.counts.get(); c.HintsLost != 1+5 || c.HintsTold != toldLimit {
		t.Errorf("counted %d lost and %d told, want %d and %d", c.HintsLost, c.HintsTold, 6, toldLimit)
	}
}

func TestFreshnessForgetsTheOldest(t *testing.T) {
	f := newFreshness(2)
	hint := func(key string) Hint { return Hint{ID: IDOf(key), Rev: 1} }
	for _, key := range []string{"a", "b", "c"} {
		if !f.news(hint(key)) {
			t.Errorf("%s is no news", key)
		}
	}
	if f.news(hint("a")) {
		t.Error("a was forgotten within two generations")
	}
	f.news(hint("d"))
	f.news(hint("e"))
	if !f.news(hint("b")) {
		t.Error("b is still known after two generations")
	}
}
