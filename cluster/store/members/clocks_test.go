package members

import (
	"testing"
	"time"
)

// silent is a member that does not answer, on a host that is connected or not.
func silent(live bool) View {
	return View{Hosts: []Host{{Node: "b", Live: live}}, Members: []Member{{ID: 1, Node: "b", Started: true}}}
}

func TestClocks(t *testing.T) {
	start := time.Unix(1e9, 0)
	for name, c := range map[string]struct {
		looks func(look func(live bool, after time.Duration) Member) Member
		want  Member
	}{
		"connected": {func(look func(bool, time.Duration) Member) Member {
			look(true, 0)
			look(true, 10*time.Second)
			look(true, 10*time.Second)
			return look(true, 10*time.Second)
		}, Member{Bare: true}},
		"only a moment": {func(look func(bool, time.Duration) Member) Member {
			look(true, 0)
			return look(true, 10*time.Second)
		}, Member{}},
		"its host was off in between": {func(look func(bool, time.Duration) Member) Member {
			look(true, 0)
			look(true, 10*time.Second)
			look(false, 10*time.Second)
			return look(true, 10*time.Second)
		}, Member{}},
		"this host stood still": {func(look func(bool, time.Duration) Member) Member {
			look(true, 0)
			return look(true, time.Hour)
		}, Member{}},
		"off for long": {func(look func(bool, time.Duration) Member) Member {
			for range 6 {
				look(false, 10*time.Second)
			}
			return look(false, 10*time.Second)
		}, Member{Gone: true}},
	} {
		t.Run(name, func(t *testing.T) {
			k, now := clocks{patience: time.Minute, bare: 30 * time.Second}, start
			got := c.looks(func(live bool, after time.Duration) Member {
				now = now.Add(after)
				v := silent(live)
				k.look(now, &v)
				return v.Members[0]
			})
			if got.Bare != c.want.Bare || got.Gone != c.want.Gone {
				t.Errorf("bare %v, gone %v, want %v and %v", got.Bare, got.Gone, c.want.Bare, c.want.Gone)
			}
		})
	}
}

// A host that begins anew again and again is given ever more time.
func TestBareTakesLonger(t *testing.T) {
	k, now := clocks{patience: 100 * time.Second, bare: 30 * time.Second}, time.Unix(1e9, 0)
	for _, want := range []time.Duration{30 * time.Second, time.Minute, 100 * time.Second} {
		id := uint64(want)
		var began time.Time
		for {
			v := silent(true)
			v.Members[0].ID = id
			k.look(now, &v)
			if began.IsZero() {
				began = now
			}
			if v.Hosts[0].Failures != k.failures["b"] {
				t.Fatalf("the plan knows of %d failures, not %d", v.Hosts[0].Failures, k.failures["b"])
			}
			if m := v.Members[0]; m.Bare {
				k.did(Step{Action: Remove, ID: id, Node: "b"}, m)
				break
			}
			now = now.Add(10 * time.Second)
		}
		if got := now.Sub(began); got != want {
			t.Errorf("bare after %s, want %s", got, want)
		}
	}
	v := silent(true)
	v.Members[0].Answers, v.Members[0].InStep = true, true
	k.look(now, &v)
	if got := k.bareAfter("b"); got != 30*time.Second {
		t.Errorf("bare after %s once it was in step", got)
	}
}
