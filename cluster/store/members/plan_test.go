package members_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store/members"
)

// view reads hosts and members from lines, one host each:
//
//	NODE [drained|leaving|evicted|off|plugin]... [voter|learner [leader|silent|gone|bare|late|new]...]
//
// Members are numbered in order of the lines, from 1; "off" is a host that is
// not connected, and its member is silent.
func view(t *testing.T, want int, text string) members.View {
	t.Helper()
	v := members.View{Want: want}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		words := strings.Fields(line)
		h := members.Host{Node: words[0], Base: words[0] + ":2379", Live: true}
		m := members.Member{ID: uint64(len(v.Members) + 1), Node: words[0], Peer: words[0] + ":2380", Started: true, Answers: true, InStep: true}
		is := map[string]bool{}
		for _, word := range words[1:] {
			is[word] = true
			switch word {
			case "drained":
				h.Drained = true
			case "leaving":
				h.Leaving = true
			case "evicted":
				h.Evicted = true
			case "off":
				h.Live = false
			case "plugin":
				h.Base = ""
			case "failed":
				h.Failures++
			case "voter":
			case "learner":
				m.Learner = true
			case "leader":
				m.Leader = true
			case "silent", "gone", "bare":
				m.Answers, m.InStep, m.Gone, m.Bare = false, false, word == "gone", word == "bare"
			case "late":
				m.InStep = false
			case "new":
				m.Started, m.Answers, m.InStep = false, false, false
			default:
				t.Fatalf("unknown word %q", word)
			}
		}
		v.Hosts = append(v.Hosts, h)
		if is["voter"] || is["learner"] {
			if is["off"] {
				m.Answers, m.InStep = false, false
			}
			v.Members = append(v.Members, m)
		}
	}
	return v
}

func told(step members.Step, found bool) string {
	if !found {
		return "nothing"
	}
	return fmt.Sprintf("%s %s", step.Action, step.Node)
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
		view string
		want string
	}{
		{"alone", 0, "a voter leader", "nothing"},
		{"a second host has a copy", 0, "a voter leader\nb", "add learner b"},
		{"and no more than that", 0, "a voter leader\nb learner", "nothing"},
		{"a plugin's node runs none", 0, "a voter leader\nb plugin", "nothing"},
		{"an unconnected host is not asked", 0, "a voter leader\nb off", "nothing"},
		{"a third host", 0, "a voter leader\nb learner\nc", "add learner c"},
		{"one alone is not promoted", 0, "a voter leader\nb learner\nc learner late", "nothing"},
		{"nor before both started", 0, "a voter leader\nb learner\nc learner new", "nothing"},
		{"both in step", 0, "a voter leader\nb learner\nc learner", "promote b"},
		{"the second follows", 0, "a voter leader\nb voter\nc learner", "promote c"},
		{"the second fell behind", 0, "a voter leader\nb voter\nc learner late", "nothing"},
		{"the second is lost", 0, "a voter leader\nb voter\nc off learner gone", "remove b"},
		{"three are enough", 0, "a voter leader\nb voter\nc voter\nd\ne", "nothing"},
		{"one was asked for", 1, "a voter leader\nb\nc", "add learner b"},
		{"one is enough", 1, "a voter leader\nb voter\nc voter", "remove c"},
		{"and at once the next", 1, "a voter leader\nb voter\nc", "remove b"},
		{"five of five hosts", 5, "a voter leader\nb voter\nc voter\nd\ne", "add learner d"},
		{"five are grown in pairs", 5, "a voter leader\nb learner\nc learner\nd\ne", "promote b"},
		{"five of four hosts", 5, "a voter leader\nb voter\nc voter\nd", "nothing"},
		{"back from five", 0, "a voter leader\nb voter\nc voter\nd voter\ne voter", "remove e"},

		{"only away", 0, "a voter leader\nb voter\nc off voter silent\nd", "nothing"},
		{"gone: first another learner", 0, "a voter leader\nb voter\nc off voter gone\nd", "add learner d"},
		{"gone: until it is in step", 0, "a voter leader\nb voter\nc off voter gone\nd learner late", "nothing"},
		{"gone: then it goes", 0, "a voter leader\nb voter\nc off voter gone\nd learner", "remove c"},
		{"gone: and the other has its vote", 0, "a voter leader\nb voter\nd learner", "promote d"},
		{"gone, and nobody takes its place", 0, "a voter leader\nb voter\nc off voter gone", "nothing"},
		{"back before it was replaced", 0, "a voter leader\nb voter\nc voter\nd learner", "remove d"},
		{"another learner where one never came", 0, "a voter leader\nb voter\nc off voter gone\nd learner gone\ne", "remove d"},
		{"who failed before is asked last", 0, "a voter leader\nb voter\nc off voter gone\nd failed\ne", "add learner e"},

		{"no quorum", 0, "a voter leader\nb off voter gone\nc off voter gone\nd", "nothing"},
		{"no leader", 0, "a voter\nb voter\nc voter evicted gone", "nothing"},
		{"half is no quorum", 0, "a voter leader\nb off voter gone\nc", "nothing"},

		{"drained: first another learner", 0, "a voter leader\nb voter\nc drained voter\nd", "add learner d"},
		{"drained: it votes until the other does", 0, "a voter leader\nb voter\nc drained voter\nd learner", "promote d"},
		{"drained: then it goes", 0, "a voter leader\nb voter\nc drained voter\nd voter", "remove c"},
		{"drained leader hands over", 0, "a drained voter leader\nb voter\nc voter\nd learner", "move leader b"},
		{"drained, and nobody takes its place", 0, "a voter leader\nb voter\nc drained voter", "nothing"},
		{"drained learner", 0, "a voter leader\nb drained learner", "nothing"},
		{"drained learner, and another host", 0, "a voter leader\nb drained learner\nc", "remove b"},

		{"leaving: hands over first", 0, "a voter leader\nb voter\nc leaving voter\nd", "add learner d"},
		{"leaving of three: no replacement", 0, "a voter leader\nb voter\nc leaving voter", "remove c"},
		{"leaving of three: then one", 0, "a voter leader\nb voter\nc leaving", "remove b"},
		{"leaving of three: a copy", 0, "a voter leader\nb\nc leaving", "add learner b"},
		{"leaving leader of three", 0, "a leaving voter leader\nb voter\nc voter", "move leader b"},
		{"leaving, but another is silent", 0, "a voter leader\nb off voter silent\nc leaving voter", "nothing"},
		{"leaving of two: the copy votes", 0, "a leaving voter leader\nb learner", "promote b"},
		{"leaving of two: and leads", 0, "a leaving voter leader\nb voter", "move leader b"},
		{"leaving of two: alone", 0, "a leaving voter\nb voter leader", "remove a"},
		{"leaving learner of two", 0, "a voter leader\nb leaving learner", "remove b"},
		{"the last one cannot leave", 0, "a leaving voter leader", "nothing"},
		{"evicted of three", 0, "a voter leader\nb voter\nc evicted off voter silent", "remove c"},
		{"evicted of four", 0, "a voter leader\nb voter\nc evicted off voter silent\nd", "add learner d"},

		{"lost its disk", 0, "a voter leader\nb voter\nc voter bare", "remove c"},
		{"lost its disk: begins anew", 0, "a voter leader\nb voter\nc", "add learner c"},
		{"lost its disk: and votes", 0, "a voter leader\nb voter\nc learner", "promote c"},
		{"lost its disk, another host is there", 0, "a voter leader\nb voter\nc voter bare\nd", "add learner d"},
		{"lost its disk of two", 0, "a voter leader\nb learner bare", "remove b"},
		{"lost its disk, of no quorum", 0, "a voter leader\nb voter bare\nc off voter silent", "nothing"},
		{"five hosts, one lost, one gone", 5, "a voter leader\nb voter\nc voter\nd voter bare\ne off voter gone", "remove d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			step, found := view(t, c.size, c.view).Next()
			if got := told(step, found); got != c.want {
				t.Errorf("next is %q (%s), want %q", got, step.Why, c.want)
			}
		})
	}
}

// A member that nobody knows the host of, evicted and forgotten, goes once it is
// silent for long, and not before.
func TestUnknownHost(t *testing.T) {
	v := view(t, 0, "a voter leader\nb voter\nc voter")
	v.Hosts = v.Hosts[:2]
	if step, found := v.Next(); found {
		t.Errorf("next is %v while it answers", step)
	}
	v.Members[2].Answers, v.Members[2].Gone = false, true
	if got, want := told(v.Next()), "remove c"; got != want {
		t.Errorf("next is %q, want %q", got, want)
	}
}

// Two hosts of one address: etcd would refuse the second.
func TestAddressTaken(t *testing.T) {
	v := view(t, 0, "a voter leader\nb")
	v.Hosts[1].Base = v.Hosts[0].Base
	if step, found := v.Next(); found {
		t.Errorf("next is %v", step)
	}
}

// A leader that was opened a moment ago is listed where only its host reaches it.
func TestLeaderMoves(t *testing.T) {
	for name, change := range map[string]func(*members.View){
		"listed elsewhere": func(v *members.View) { v.Members[0].Peer = "localhost:2380" },
		"no address":       func(v *members.View) { v.Hosts[0].Base = "" },
	} {
		t.Run(name, func(t *testing.T) {
			v := view(t, 0, "a voter leader\nb")
			change(&v)
			if step, found := v.Next(); found {
				t.Errorf("next is %v", step)
			}
			if got, want := v.Why("b"), "the leader has no address yet that others reach"; got != want {
				t.Errorf("b runs none: %q, want %q", got, want)
			}
		})
	}
}

func TestWhy(t *testing.T) {
	v := view(t, 0, "a voter leader\nb voter\nc voter\nd\ne off\nf drained\ng leaving\nh evicted\ni plugin")
	got := map[string]string{}
	for _, h := range v.Hosts {
		got[h.Node] = v.Why(h.Node)
	}
	want := map[string]string{
		"a": "", "b": "", "c": "", "d": "3 are enough", "e": "not connected", "f": "drained", "g": "leaves",
		"h": "evicted", "i": "a managed plugin runs none",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("why (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		"a voter leader\nx":                                   "comes next",
		"a voter leader\nb\nx":                                "others come first",
		"a voter leader\nb learner\nc learner\nd\nx":          "others come first",
		"a voter leader\nb off voter gone\nx":                 "nothing is changed while no quorum answers",
		"a voter leader\nb voter\nc off voter gone\nd\nx":     "others come first",
		"a voter leader\nb voter\nc off voter gone\nx failed": "comes next",
	} {
		if got := view(t, 0, text).Why("x"); got != want {
			t.Errorf("why not x of\n%s\nis %q, want %q", text, got, want)
		}
	}
}

func TestAddressesOf(t *testing.T) {
	got, err := members.AddressesOf("[2001:db8::1]:2379")
	want := members.Addresses{Client: "[2001:db8::1]:2379", Peer: "[2001:db8::1]:2380", Door: "[2001:db8::1]:2381"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, base := range []string{"", "h", ":2379", "h:0", "h:65534", "h:x"} {
		if got, err := members.AddressesOf(base); err == nil {
			t.Errorf("%q is %+v", base, got)
		}
	}
}
