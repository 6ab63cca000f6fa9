package support

import (
	"regexp"
	"slices"
	"strings"
)

// hiding is what stands in place of a secret.
const hiding = "(secret)"

// shortest is how long a known secret is at least: a shorter one would take
// words out of every text, and protects nothing.
const shortest = 4

// secrets takes what must not be told out of a text.
type secrets struct {
	known []string
	looks []look
}

// look is what secrets look like, with what stays of each.
type look struct {
	of   *regexp.Regexp
	stay string
}

func newSecrets(known []string) secrets {
	s := secrets{looks: []look{
		{regexp.MustCompile(`gvlan1-[A-Za-z0-9_\-]+`), "gvlan1-" + hiding}, // join tokens
		{regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`), hiding},
		{regexp.MustCompile(`://[^/\s"'@]+:[^/\s"'@]+@`), "://" + hiding + "@"}, // user and password of a URL
		{regexp.MustCompile(`(?i)\b((?:[a-z0-9]+[_-])*(?:password|passwd|secret|token|apikey|api_key))(["']?\s*[=:]\s*)("(?:[^"\\]|\\.)+"|'[^']+'|[^\s,"'})]+)`), "$1$2" + hiding},
	}}
	for _, k := range known {
		if k = strings.TrimSpace(k); len(k) >= shortest {
			s.known = append(s.known, k)
		}
	}
	slices.SortFunc(s.known, func(a, b string) int { return len(b) - len(a) }) // one may begin another
	return s
}

func (s secrets) hide(text string) string {
	for _, k := range s.known {
		text = strings.ReplaceAll(text, k, hiding)
	}
	for _, l := range s.looks {
		text = l.of.ReplaceAllString(text, l.stay)
	}
	return text
}
