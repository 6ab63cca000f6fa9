package support

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gvlan/cmd/internal/config"
)

// kind is what a name is a name of, and how its pseudonym begins.
type kind string

const (
	container kind = "container"
	host      kind = "host"
	node      kind = "node"
	network   kind = "network"
	domain    kind = "domain"
	service   kind = "service"
	segment   kind = "segment"
)

// everybodys are names that tell nothing of anybody.
var everybodys = []string{
	"", "-", "host", "bridge", "none", "ingress", "docker_gwbridge", "default", "localhost", "gvlan", "internal", "gvlan.internal", "null", "local", "global", "swarm", "docker", "etcd", "true", "false",
}

// names are those that were met, each with what it is a name of.
type names map[string]kind

// add notes a name; what it was first taken for it stays.
func (n names) add(of kind, name string) {
	name = strings.TrimSuffix(strings.TrimSpace(name), ".")
	if !strings.ContainsFunc(name, inWord) || of == "" || slices.Contains(everybodys, strings.ToLower(name)) || isAddress(name) {
		return
	}
	if _, known := n[name]; !known {
		n[name] = of
	}
	if of == host { // with its domain, and without
		if short, rest, ok := strings.Cut(name, "."); ok {
			n.add(host, short)
			n.add(domain, rest)
		}
	}
}

// isAddress reports whether a text is an address, also of a subnet or with a
// port: who has one is called by it, where no name is known.
func isAddress(text string) bool {
	_, addr := netip.ParseAddr(text)
	_, prefix := netip.ParsePrefix(text)
	_, port := netip.ParseAddrPort(text)
	return addr == nil || prefix == nil || port == nil
}

// kindOfField says what a field of a JSON document is a name of: those of
// package api, of events and audits, and of the engine's networks.
func kindOfField(field string, named kind) kind {
	switch strings.ToLower(field) {
	case "name":
		return named
	case "container", "containers", "failedstarts", "aliases":
		return container
	case "host", "waiting":
		return host
	case "node", "origin":
		return node
	case "network":
		return network
	case "service":
		return service
	case "zone", "domain":
		return domain
	case "segment":
		return segment
	}
	return ""
}

// inJSON notes the names in a document.
func (n names) inJSON(raw []byte, named kind) {
	var document any
	if json.Unmarshal(raw, &document) == nil {
		n.walk(document, "", named)
	}
}

func (n names) walk(value any, of kind, named kind) {
	switch value := value.(type) {
	case string:
		n.add(of, value)
	case []any:
		for _, v := range value {
			n.walk(v, of, named)
		}
	case map[string]any:
		for field, v := range value {
			switch v := v.(type) {
			case string, []any:
				n.walk(v, kindOfField(field, named), named)
			case map[string]any:
				if strings.EqualFold(field, "aux") { // addresses of the LAN by what their hosts are called
					for name := range v {
						n.add(host, name)
					}
				}
				n.walk(v, "", named)
			}
		}
	}
}

// told are the places in logs and sentences where a name stands: attributes as
// slog prints them, as text and as JSON, and "container web on node h1".
var told = []*regexp.Regexp{
	regexp.MustCompile(`\b(container|host|node|network|service|domain|zone|segment)=("(?:[^"\\]|\\.)*"|\S+)`),
	regexp.MustCompile(`"(container|host|node|network|service|domain|zone|segment)":("(?:[^"\\]|\\.)*")`),
	regexp.MustCompile(`\b(container) ([A-Za-z0-9][A-Za-z0-9_.-]*) (?:on|of) (?:node|host)\b`),
	regexp.MustCompile(`\bcontainer \S+ (?:on|of) (node|host) ([A-Za-z0-9][A-Za-z0-9_.-]*)`),
}

// inText notes the names in logs: also of what is gone since, and known to
// nobody else.
func (n names) inText(text string) {
	for _, place := range told {
		for _, m := range place.FindAllStringSubmatch(text, -1) {
			name := m[2]
			if plain, err := strconv.Unquote(name); err == nil {
				name = plain
			}
			for _, one := range strings.Split(name, ",") {
				n.add(kind(m[1]), one)
			}
		}
	}
}

// ofHost notes what this host itself is called, what its settings name, and what
// the engine has, which knows containers of no network of gvlan's.
func (n names) ofHost(ctx context.Context, h Host) {
	n.add(host, h.Name)
	n.add(node, h.Settings.NodeName)
	n.add(domain, h.Settings.DNS.Domain)
	n.add(domain, h.Settings.DNS.Update.Zone)
	for _, text := range append(slices.Concat(h.Settings.Etcd.Endpoints, h.Settings.DNS.Upstream, h.Settings.DNS.Listen),
		h.Settings.Join.Address, h.Settings.DNS.Update.Server, h.Settings.Etcd.Listen, h.Settings.Metrics.Listen, h.Settings.Web.Listen) {
		n.add(host, hostIn(text))
	}
	for name := range h.Settings.Parents.Networks {
		n.add(network, name)
	}
	for name, of := range maps.Clone(n) {
		if bare, ok := strings.CutSuffix(name, config.SwarmSuffix); ok && of == node {
			n.add(node, bare)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if all, err := h.Engine.Containers(ctx); err == nil {
		for _, c := range all {
			n.add(container, c.Name)
			n.add(service, c.Labels["com.docker.swarm.service.name"])
			n.add(service, c.Labels["com.docker.compose.project"])
			n.add(service, c.Labels["com.docker.compose.service"])
		}
	}
	if all, err := h.Engine.Networks(ctx, ""); err == nil {
		for _, one := range all {
			n.add(network, one.Name)
		}
	}
	if info, err := h.Engine.Info(ctx); err == nil {
		n.add(host, info.Hostname)
	}
}

// hostIn is the host of a URL or of host:port; an address is no name, which add
// sees to.
func hostIn(text string) string {
	if _, rest, ok := strings.Cut(text, "://"); ok {
		text = rest
	}
	text, _, _ = strings.Cut(text, "/")
	text = text[strings.LastIndexByte(text, '@')+1:]
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	return strings.Trim(text, "[]")
}

// pseudonyms replace names, in any spelling of their letters and as JSON and Go
// quote them.
type pseudonyms struct {
	// by has those that begin with a word, in lower case, longest first.
	by map[string][]pseudonym
}

type pseudonym struct {
	name  string // in lower case
	stand string // what stands for it
}

// pseudonyms numbers the names of each kind in their order: archives of several
// hosts of a cluster mostly agree.
func (n names) pseudonyms() pseudonyms {
	p := pseudonyms{by: map[string][]pseudonym{}}
	count := map[kind]int{}
	given := map[string]string{} // by the name in lower case
	for _, name := range slices.SortedFunc(maps.Keys(n), func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }) {
		lower := strings.ToLower(name)
		if given[lower] == "" {
			count[n[name]]++
			given[lower] = fmt.Sprintf("%s-%d", n[name], count[n[name]])
		}
	}
	for lower, stand := range given {
		if !strings.ContainsFunc(lower, unicode.IsLetter) {
			p.addNumber(lower, stand)
			continue
		}
		forms := []string{lower}
		if quoted, err := json.Marshal(lower); err == nil {
			forms = append(forms, string(quoted[1:len(quoted)-1]))
		}
		quoted := strconv.Quote(lower)
		forms = append(forms, quoted[1:len(quoted)-1])
		slices.Sort(forms)
		for _, form := range slices.Compact(forms) {
			p.add(form, stand)
		}
	}
	for first := range p.by {
		slices.SortFunc(p.by[first], func(a, b pseudonym) int { return len(b.name) - len(a.name) })
	}
	return p
}

func (p pseudonyms) add(form, stand string) {
	first := form[:wordAt(form)]
	p.by[first] = append(p.by[first], pseudonym{form, stand})
}

// addNumber adds a name that is a number, as that of a VLAN, where it is told as a
// name: elsewhere it is part of an address, or a count.
func (p pseudonyms) addNumber(number, stand string) {
	p.add(`"`+number+`"`, `"`+stand+`"`)
	for _, of := range []kind{container, host, node, network, service, segment} {
		p.add(string(of)+"="+number, string(of)+"="+stand)
		p.add(string(of)+" "+number, string(of)+" "+stand)
	}
}

// wordAt is how many bytes the word takes that a text begins with; one rune
// where it begins with none.
func wordAt(text string) int {
	for i, r := range text {
		if !inWord(r) {
			if i == 0 {
				_, size := utf8.DecodeRuneInString(text)
				return size
			}
			return i
		}
	}
	return len(text)
}

func inWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// replace puts pseudonyms in place of the names in a text, where they stand as
// whole words.
func (p pseudonyms) replace(text string) string {
	var out strings.Builder
	for text != "" {
		n := wordAt(text)
		name, stand := p.at(text, n)
		if name > 0 {
			out.WriteString(stand)
			text = text[name:]
			continue
		}
		out.WriteString(text[:n])
		text = text[n:]
	}
	return out.String()
}

// at is the longest name that a text begins with, in bytes, and what stands for
// it.
func (p pseudonyms) at(text string, word int) (int, string) {
	for _, one := range p.by[strings.ToLower(text[:word])] {
		if len(text) < len(one.name) || !strings.EqualFold(text[:len(one.name)], one.name) {
			continue
		}
		if next, _ := utf8.DecodeRuneInString(text[len(one.name):]); text[len(one.name):] == "" || !inWord(next) || !inWord(last(one.name)) {
			return len(one.name), one.stand
		}
	}
	return 0, ""
}

func last(text string) rune {
	r, _ := utf8.DecodeLastRuneInString(text)
	return r
}
