package authority

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

const (
	tokenPrefix = "gvlan1-"
	tokenFamily = "gvlan" // what tokens of any format begin with
	secretBytes = 16
	oldBytes    = 32 // of a token that was the authority's key itself
	tokenLength = len(tokenPrefix) + (sha256.Size*8+4)/5 + 1 + (secretBytes*8+4)/5
)

var (
	// ErrToken is a text that is no token.
	ErrToken = errors.New("not a token that gvlan printed")
	// ErrOldToken is a token that gvlan printed when a token was the authority.
	ErrOldToken = errors.New("the token is of an older gvlan: run `gvlan token show` on a member's host")
	// ErrOtherAuthority is a server that has no certificate of the authority
	// whose fingerprint a token holds.
	ErrOtherAuthority = errors.New("the server is not of the cluster that the token is for")
)

// Token is what a host joins a cluster with: whom to trust, and what to show
// for itself. It is worth nothing after that, and is no key to the store.
type Token struct {
	Fingerprint string // hexadecimal SHA-256 of the authority's certificate
	Secret      string `json:"-"`
}

// ParseToken reads what String printed. Its errors, ErrOldToken and those that
// wrap ErrToken, never repeat the text.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	if old, err := base64.RawURLEncoding.DecodeString(text); err == nil && len(old) == oldBytes {
		return Token{}, ErrOldToken
	}
	text = strings.ToLower(text)
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok && strings.HasPrefix(text, tokenFamily) {
		return Token{}, fmt.Errorf("%w in this release: it begins with %s, and another release's may not", ErrToken, tokenPrefix)
	}
	fingerprint, secret, _ := strings.Cut(rest, "-")
	raw, okFingerprint := unspell(fingerprint, sha256.Size)
	_, okSecret := unspell(secret, secretBytes)
	if ok && len(text) == tokenLength && (!okFingerprint || !okSecret) {
		return Token{}, fmt.Errorf("%w: it is as long as one, and a character of it is wrong: copy it, and do not type it", ErrToken)
	}
	if !ok || !okFingerprint || !okSecret {
		return Token{}, fmt.Errorf("%w: want %d characters that begin with %s, got %d: copy it whole", ErrToken, tokenLength, tokenPrefix, len(text))
	}
	return Token{Fingerprint: hex.EncodeToString(raw), Secret: secret}, nil
}

// String spells the token out, secret and all.
func (t Token) String() string {
	raw, _ := hex.DecodeString(t.Fingerprint)
	return tokenPrefix + spell(raw) + "-" + t.Secret
}

// LogValue hides the secret.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.hidden()) }

// GoString hides the secret.
func (t Token) GoString() string { return t.hidden() }

func (t Token) hidden() string {
	t.Secret = "(secret)"
	return t.String()
}

// Verify finds the authority that the token is for among the certificates that
// a server presented, its own first, and holds that one against it. What was
// presented without it is ErrOtherAuthority.
func (t Token) Verify(presented []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	for _, root := range presented {
		if Fingerprint(root) != t.Fingerprint {
			continue
		}
		pool := x509.NewCertPool()
		pool.AddCert(root)
		_, err := presented[0].Verify(x509.VerifyOptions{
			Roots: pool, DNSName: ServerName, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			return nil, fmt.Errorf("the certificate of the server: %w", err)
		}
		return root, nil
	}
	return nil, ErrOtherAuthority
}

// NewSecret makes the secret of a token: 128 random bits.
func NewSecret() string {
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // never fails
	return spell(raw)
}

// Digest is what a secret may be recognised by where it must not be readable:
// its hexadecimal SHA-256. The secret is too long to be guessed from it.
func Digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Matches reports whether a digest is that of a secret, in the same time
// whatever the secret.
func Matches(secret, digest string) bool {
	return subtle.ConstantTimeCompare([]byte(Digest(secret)), []byte(digest)) == 1
}

// spell is base32 in small letters, without padding.
func spell(raw []byte) string { return strings.ToLower(letters().EncodeToString(raw)) }

// unspell undoes spell, for so many bytes; it takes one spelling only.
func unspell(text string, size int) ([]byte, bool) {
	raw, err := letters().DecodeString(strings.ToUpper(text))
	return raw, err == nil && len(raw) == size && spell(raw) == text
}

func letters() *base32.Encoding { return base32.StdEncoding.WithPadding(base32.NoPadding) }
