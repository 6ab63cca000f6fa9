package door

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// keyParameter is the key in a link.
	keyParameter = "key"
	keyBytes     = 32
	// keyLife is how long a link may be used, once, and how long a browser is let
	// in by it.
	keyLife = 12 * time.Hour
	// mostLinks and mostBrowsers bound what is remembered: the oldest is forgotten.
	mostLinks    = 64
	mostBrowsers = 256
)

var errUnknownKey = errors.New("the link was used, or is too old")

// keys are what links and browsers have, by their hashes: whoever reads this memory
// has none, and a lookup takes as long for any.
type keys struct {
	cookie string // its name
	secure bool   // the cookie is for TLS only
	now    func() time.Time
	random io.Reader

	mu       sync.Mutex
	links    []key // the oldest first
	browsers []key
}

type key struct {
	sum [sha256.Size]byte
	end time.Time
}

// draw makes a key, and remembers it among those of a kind.
func (k *keys) draw(among *[]key, most int) (string, error) {
	raw := make([]byte, keyBytes)
	if _, err := io.ReadFull(k.random, raw); err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(raw)
	k.mu.Lock()
	defer k.mu.Unlock()
	*among = append(k.lasting(*among), key{sha256.Sum256([]byte(text)), k.now().Add(keyLife)})
	*among = (*among)[max(0, len(*among)-most):]
	return text, nil
}

// lasting are those whose time has not come.
func (k *keys) lasting(all []key) []key {
	now := k.now()
	return slices.DeleteFunc(all, func(one key) bool { return !one.end.After(now) })
}

// link makes a key for a link.
func (k *keys) link() (string, error) { return k.draw(&k.links, mostLinks) }

// use takes the key of a link for the cookie of a browser. It fails with
// errUnknownKey, or where there is no randomness.
func (k *keys) use(text string) (*http.Cookie, error) {
	if !k.take(text) {
		return nil, errUnknownKey
	}
	value, err := k.draw(&k.browsers, mostBrowsers)
	if err != nil {
		return nil, err
	}
	// Lax, and not strict: a link that is clicked on in a mail or a chat leads on to the
	// page, and what another site's page asks for itself is refused by the door.
	return &http.Cookie{
		Name: k.cookie, Value: value, Path: "/", MaxAge: int(keyLife / time.Second), HttpOnly: true, Secure: k.secure, SameSite: http.SameSiteLaxMode,
	}, nil
}

func (k *keys) take(text string) bool {
	sum := sha256.Sum256([]byte(text))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.links = k.lasting(k.links)
	i := slices.IndexFunc(k.links, func(one key) bool { return one.sum == sum })
	if i < 0 {
		return false
	}
	k.links = slices.Delete(k.links, i, i+1)
	return true
}

// has reports whether a request is one of a browser that was let in.
func (k *keys) has(r *http.Request) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	return slices.ContainsFunc(r.CookiesNamed(k.cookie), func(c *http.Cookie) bool {
		sum := sha256.Sum256([]byte(c.Value))
		return slices.ContainsFunc(k.browsers, func(one key) bool { return one.sum == sum && one.end.After(now) })
	})
}
