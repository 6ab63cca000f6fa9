package support

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hiding is what stands in place of a secret.
const hiding = "(secret)"

// secretWords are what the last word of a secret's name is.
const secretWords = `(?:password|passwd|passphrase|secret|token|apikey|api_key)`

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
		{regexp.MustCompile(`://[^/\s"']+@`), "://" + hiding + "@"}, // user and password of a URL
		{regexp.MustCompile(`(?i)(\bauthorization\\*["']?\s*[=:]\s*\\*["']?(?:(?:bearer|basic)\s+)?)[^\s"'\\,]+`), "$1" + hiding},
		{regexp.MustCompile(`(?i)(--(?:[a-z0-9]+-)*` + secretWords + `\s+)("(?:[^"\\]|\\.)+"|'[^']+'|[^\s"']+)`), "$1" + hiding}, // of a command line
		// KEY=VALUE and "key":"value", also where that is quoted once more.
		{regexp.MustCompile(`(?i)\b((?:[a-z0-9]+[_-])*` + secretWords + `)(\\*["']?\s*[=:]\s*)(\\+"[^"\\]+\\+"|"(?:[^"\\]|\\.)+"|'[^']+'|[^\s,"'})]+)`), "$1$2" + hiding},
	}}
	for _, k := range known {
		if k = strings.TrimSpace(k); len(k) >= shortest {
			s.known = append(s.known, spellings(k)...)
		}
	}
	slices.SortFunc(s.known, func(a, b string) int { return len(b) - len(a) }) // one may begin another
	return s
}

// spellings are a secret as it is, and as JSON, Go and URLs write it.
func spellings(secret string) []string {
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	inJSON, _ := json.Marshal(secret)
	for _, quoted := range []string{strconv.Quote(secret), string(inJSON)} {
		all = append(all, quoted[1:len(quoted)-1])
	}
	slices.Sort(all)
	return slices.Compact(all)
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
