package door

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestGuesses: an address that guesses has to wait, with the right password too, and
// keeps nobody else out.
func TestGuesses(t *testing.T) {
	o := lan(t)
	for i := range perSource {
		o.out("guess "+strconv.Itoa(i), http.StatusUnauthorized, asked{password: "guess " + strconv.Itoa(i)})
	}
	answer := o.out("one too many", http.StatusTooManyRequests, asked{password: "guess"})
	if after := answer.Header.Get("Retry-After"); after != "10" {
		t.Errorf("it may be tried again after %q", after)
	}
	o.out("the right one, too soon", http.StatusTooManyRequests, asked{password: password})
	o.in("the right one from elsewhere", asked{from: "127.0.0.3", password: password})
	o.in("a browser with a link, at the address that guessed", asked{cookie: o.browser()})
	o.out("no password at all", http.StatusUnauthorized, asked{})
	o.passed.Store(int64(perSourceEach))
	o.in("the right one, later", asked{password: password})
	o.out("a wrong one, later", http.StatusUnauthorized, asked{password: "guess"})
	o.out("another", http.StatusTooManyRequests, asked{password: "guess"})
	if n := strings.Count(o.log.text(), "a wrong password"); n != 1 {
		t.Errorf("told %d times:\n%s", n, o.log.text())
	}
	o.passed.Add(int64(quiet))
	o.out("the next day", http.StatusUnauthorized, asked{password: "guess"})
	if n := strings.Count(o.log.text(), "a wrong password"); n != 2 {
		t.Errorf("told %d times:\n%s", n, o.log.text())
	}
}

// TestGuessesOfMany: where many addresses guess, those that had the password right
// before are heard, and others when there are fewer.
func TestGuessesOfMany(t *testing.T) {
	o := lan(t)
	o.in("the right one", asked{password: password})
	for i := range inAll {
		o.out("a guess", http.StatusUnauthorized, asked{from: fmt.Sprintf("127.0.1.%d", i+1), password: "guess"})
	}
	o.out("a guess from elsewhere", http.StatusTooManyRequests, asked{from: "127.0.2.1", password: "guess"})
	o.out("the right one from elsewhere", http.StatusTooManyRequests, asked{from: "127.0.2.1", password: password})
	o.in("the right one from where it was right", asked{password: password})
	o.passed.Store(int64(inAllEach))
	o.in("the right one from elsewhere, later", asked{from: "127.0.2.1", password: password})
}

// TestGuessesAreBounded: as many addresses as there are in IPv6 cost no more memory
// than some, and none has more tries for that it is forgotten.
func TestGuessesAreBounded(t *testing.T) {
	now := time.Now()
	g := newGuesses(func() time.Time { return now })
	wrong, tried := func() bool { return false }, 0
	address := func(i, j int) netip.Addr {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x:%x::%x", i>>16, i&0xffff, j))
	}
	for i := range 3 * mostSources {
		now = now.Add(inAllEach)
		g.try(address(i, 1), func() bool { tried++; return i%2 == 0 })
	}
	if len(g.wrong) > mostSources || len(g.right) > mostSources || tried != 3*mostSources {
		t.Errorf("%d and %d addresses are remembered, of %d", len(g.wrong), len(g.right), tried)
	}
	lets := 0
	for j := range 3 * perSource {
		if _, _, again := g.try(address(1<<20, j), wrong); again == 0 {
			lets++
		}
	}
	if lets != perSource {
		t.Errorf("a host with many addresses has %d tries, want %d", lets, perSource)
	}
}
