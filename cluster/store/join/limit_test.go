package join

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

func TestWrongSecretHoldsItsPlace(t *testing.T) {
	const cost = 200 * time.Millisecond
	c := &checks{places: make(chan struct{}, 1), cost: cost}
	gone, leave := context.WithCancel(t.Context())
	begun := time.Now()
	ok, err := c.run(gone, t.Context(), func() (bool, error) { leave(); return false, nil })
	if ok || err != nil || time.Since(begun) < cost {
		t.Errorf("%v, %v after %v, though who showed it went away", ok, err, time.Since(begun))
	}
	begun = time.Now()
	for range 5 {
		if ok, err := c.run(t.Context(), t.Context(), func() (bool, error) { return true, nil }); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if time.Since(begun) >= cost {
		t.Error("the right secret costs something")
	}

	c.places <- struct{}{} // taken: who waits does so within its context
	if _, err := c.run(gone, t.Context(), func() (bool, error) { return true, nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-c.places
	c.cost = time.Hour // the door ends
	if ok, err := c.run(t.Context(), gone, func() (bool, error) { return false, nil }); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestSourceOf(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8::1:2": "2001:db8::/64",
	} {
		if got := sourceOf(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}).String(); got != want {
			t.Errorf("%s counts as %s, want %s", ip, got, want)
		}
	}
}
