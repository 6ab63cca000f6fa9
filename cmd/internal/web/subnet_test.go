package web

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	markup "golang.org/x/net/html"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/dns/zone"
	"gvlan/ipam/survey"
)

// pictured is a part of a subnet of network lan, of which everything is free but
// for what set changes.
func pictured(subnet, at string, set map[string]api.LeaseView) api.SubnetView {
	v := api.SubnetView{Network: "lan", Segment: "default", Subnet: netip.MustParsePrefix(subnet), At: netip.MustParsePrefix(at), Counts: map[survey.State]int{}}
	for addr := v.At.Addr(); v.At.Contains(addr); addr = addr.Next() {
		one := set[addr.String()]
		one.Address, one.Segment = addr, "default"
		if one.State == "" {
			one.State = survey.Free
		}
		v.Counts[one.State]++
		v.Addresses = append(v.Addresses, one)
	}
	return v
}

// in is an address in a state.
func in(state survey.State) api.LeaseView { return api.LeaseView{Entry: survey.Entry{State: state}} }

// leased is one that a container has.
func leased(container, host, mac string, since time.Duration) api.LeaseView {
	return api.LeaseView{Host: host, Entry: survey.Entry{State: survey.Leased, Container: container, MAC: mac, Since: noon.Add(-since)}}
}

// busy is a /24 with something in every state.
func busy() map[string]api.LeaseView {
	const day = 24 * time.Hour
	set := map[string]api.LeaseView{"10.9.0.0": in(survey.Unusable), "10.9.0.255": in(survey.Unusable), "10.9.0.1": in(survey.Gateway)}
	aux := in(survey.Auxiliary)
	aux.Why = "printer"
	set["10.9.0.2"] = aux
	for i, name := range []string{"web", "db", "cache", "queue", "mail", "proxy", "search", "auth", "metrics", "logs", "wiki", "git", "ci", "chat", "dns", "backup", "shop", "blog"} {
		set[fmt.Sprintf("10.9.0.%d", 5+i+i/5)] = leased(name, fmt.Sprintf("h%d", 1+i%3), fmt.Sprintf("02:42:0a:09:00:%02x", 5+i+i/5), time.Duration(i+1)*day/3)
	}
	for i := range 24 {
		set[fmt.Sprintf("10.9.0.%d", 64+i)] = leased(fmt.Sprintf("worker-%d", i+1), fmt.Sprintf("h%d", 1+i%3), fmt.Sprintf("02:42:0a:09:00:%02x", 64+i), 3*time.Hour)
	}
	for i := range 16 {
		set[fmt.Sprintf("10.9.0.%d", 224+i)] = in(survey.Excluded)
	}
	for i, state := range []survey.State{survey.Starting, survey.Swarm, survey.Resting, survey.Resting, survey.Awaited, survey.Quarantined} {
		one := in(state)
		one.Host, one.Since = "h2", noon.Add(-time.Minute)
		if state == survey.Awaited {
			one.Container = "nightly"
		}
		set[fmt.Sprintf("10.9.0.%d", 96+i)] = one
	}
	for i := range 3 {
		host := in(survey.HostsOwn)
		host.Why = fmt.Sprintf("it is of an interface of host h%d", 1+i)
		set[fmt.Sprintf("10.9.0.%d", 250+i)] = host
	}
	foreign := in(survey.Foreign)
	foreign.MAC, foreign.Host, foreign.Since = "3c:52:82:11:22:33", "h3", noon.Add(-7*time.Minute)
	set["10.9.0.129"] = foreign
	twice := leased("printer-queue", "h2", "02:42:0a:09:00:83", day)
	twice.State, twice.Why = survey.Conflict, "MAC 3c:52:82:11:22:44 on the LAN uses it too, seen by host h1"
	set["10.9.0.131"] = twice
	reserved := in(survey.Reserved)
	reserved.Reservation = &survey.Reservation{For: "camera", MAC: "02:42:0a:09:00:c8", Note: "the one at the door"}
	set["10.9.0.200"], set["10.9.0.201"] = reserved, in(survey.Reserved)
	set["10.9.0.210"], set["10.9.0.211"] = in(survey.Unreadable), in(survey.Outside)
	return set
}

// on is a page as a browser reads it.
type on struct {
	t    *testing.T
	root *markup.Node
	text string
}

// read gets a page.
func read(t *testing.T, a answers, path string) on {
	t.Helper()
	w := get(t, newSite(t, a), path)
	if w.Code != http.StatusOK {
		t.Fatalf("%s is answered %d: %s", path, w.Code, w.Body)
	}
	text := w.Body.String()
	root, err := markup.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return on{t, root, text}
}

// id is the element with an id, its attributes with what is written within it.
func (p on) id(id string) map[string]string {
	p.t.Helper()
	for n := range p.root.Descendants() {
		if n.Type == markup.ElementNode && attr(n, "id") == id {
			all := map[string]string{"": strings.TrimSpace(within(n))}
			for _, a := range n.Attr {
				all[a.Key] = a.Val
			}
			return all
		}
	}
	p.t.Errorf("there is no #%s", id)
	return nil
}

func attr(n *markup.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// within is the text of an element.
func within(n *markup.Node) string {
	var text []string
	for child := range n.Descendants() {
		if child.Type == markup.TextNode {
			text = append(text, strings.Fields(child.Data)...)
		}
	}
	return strings.Join(text, " ")
}

// says wants a page to say this.
func (p on) says(all ...string) {
	p.t.Helper()
	text := within(p.root)
	for _, want := range all {
		if !strings.Contains(text, want) {
			p.t.Errorf("the page does not say %q: %s", want, text)
		}
	}
}

// leads wants a link with that text to lead there.
func (p on) leads(text, href string) {
	p.t.Helper()
	var led []string
	for n := range p.root.Descendants() {
		if n.Type == markup.ElementNode && n.Data == "a" && within(n) == text {
			if attr(n, "href") == href {
				return
			}
			led = append(led, attr(n, "href"))
		}
	}
	p.t.Errorf("no link %q leads to %s, but to %q", text, href, led)
}

// squares are the ids of the addresses, in their order.
func (p on) squares() (ids []string) {
	for n := range p.root.Descendants() {
		if id := attr(n, "id"); n.Type == markup.ElementNode && strings.HasPrefix(id, "a-") {
			ids = append(ids, strings.TrimPrefix(id, "a-"))
		}
	}
	return ids
}

// shows is a page of such a picture.
func shows(t *testing.T, v api.SubnetView) on {
	t.Helper()
	route := api.Subnet(v.Network, "", v.Subnet, v.At)
	return read(t, answers{route: v}, strings.Replace(route, api.SubnetRoute, "/subnet", 1))
}

// TestStatesAreToldApart without colours: each has a class, a sign and words that are
// no other's, in the picture and in its legend.
func TestStatesAreToldApart(t *testing.T) {
	set, at := map[string]api.LeaseView{}, map[survey.State]string{}
	for i, l := range looks() {
		addr := fmt.Sprintf("10.9.0.%d", i)
		set[addr], at[l.State] = in(l.State), addr
	}
	p := shows(t, pictured("10.9.0.0/28", "10.9.0.0/28", nil))
	if p.id("s-leased")[""] == "" || p.id("s-free")[""] == "" {
		t.Error("the legend of an empty subnet does not say what is leased and free")
	}
	p = shows(t, pictured("10.9.0.0/24", "10.9.0.0/24", set))
	met := map[string]survey.State{}
	for _, l := range looks() {
		square, legend := p.id("a-"+at[l.State]), p.id("s-"+string(l.State))
		_, words, _ := strings.Cut(square["aria-label"], ", ")
		count := 1
		if l.State == survey.Free {
			count = 256 - len(looks()) + 1
		}
		if want := fmt.Sprintf("%d %s", count, l.Words); !strings.Contains(legend[""], want) || !strings.HasPrefix(legend[""], l.Sign) {
			t.Errorf("the legend says %q of %s, and not %s %s", legend[""], l.State, l.Sign, want)
		}
		for _, mark := range []string{"class " + square["class"], "sign " + square[""], "words " + words} {
			if other, taken := met[mark]; taken {
				t.Errorf("%s and %s both have %s", l.State, other, mark)
			}
			met[mark] = l.State
		}
	}
	styles, err := static.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range looks() {
		if l.State != survey.Free && !strings.Contains(string(styles), "."+l.Class()+" { --is:") && !strings.Contains(string(styles), "."+l.Class()+",") {
			t.Errorf("%s has no colour", l.State)
		}
	}
}

// TestEveryStateHasALook that package survey has.
func TestEveryStateHasALook(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../../ipam/survey/entry.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	all, states := looksByState(), 0
	for n := range ast.Preorder(file) {
		spec, is := n.(*ast.ValueSpec)
		if !is || fmt.Sprint(spec.Type) != "State" {
			continue
		}
		states++
		if state := strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`); all[survey.State(state)].Words == "" {
			t.Errorf("state %s has no look", state)
		}
	}
	if last := looks()[len(looks())-1]; len(all) != states || last.State != survey.Free {
		t.Errorf("%d looks for %d states, the last of %s", len(all), states, last.State)
	}
}

// TestEveryAddressHasASquare: one each, in order, in rows of 16 and parts of 256.
func TestEveryAddressHasASquare(t *testing.T) {
	for _, test := range []struct {
		at                    string
		squares, rows, blocks int
	}{
		{"10.9.0.0/24", 256, 16, 1}, {"10.9.0.0/22", 1024, 64, 4}, {"10.9.0.8/29", 8, 1, 1}, {"10.9.0.0/32", 1, 1, 1}, {"10.9.0.0/25", 128, 8, 1},
		{"fd00::400/118", 1024, 64, 4}, {"fd00::/120", 256, 16, 1}, {"fd00::ff00/127", 2, 1, 1},
	} {
		v := pictured(test.at, test.at, nil)
		p := shows(t, v)
		var want []string
		for _, one := range v.Addresses {
			want = append(want, one.Address.String())
		}
		if got := p.squares(); !slices.Equal(got, want) || len(got) != test.squares {
			t.Errorf("%s has the squares %q", test.at, got)
		}
		if rows, parts := strings.Count(p.text, `<div id="r-`), strings.Count(p.text, `<div class="part"`); rows != test.rows || parts != test.blocks {
			t.Errorf("%s has %d rows in %d parts, and not %d in %d", test.at, rows, parts, test.rows, test.blocks)
		}
	}
	p := shows(t, pictured("fd00::/112", "fd00::ab00/120", nil))
	if label := p.id("r-fd00::abf0")[""]; label != ":abf0" {
		t.Errorf("the row of fd00::abf0 is called %q", label)
	}
	p.leads("fd00::/112", "/subnet?network=lan&subnet=fd00%3A%3A%2F112")
	p.leads("‹ fd00::aa00/120", "/subnet?at=fd00%3A%3Aaa00%2F120&network=lan&subnet=fd00%3A%3A%2F112")
	p.leads("fd00::ac00/120 ›", "/subnet?at=fd00%3A%3Aac00%2F120&network=lan&subnet=fd00%3A%3A%2F112")
	p = shows(t, pictured("10.9.0.0/22", "10.9.0.0/22", nil))
	p.leads("10.9.2.0/24", "/subnet?at=10.9.2.0%2F24&network=lan&subnet=10.9.0.0%2F22")
	if strings.Contains(p.text, "‹") || strings.Contains(p.text, "›") {
		t.Error("something lies beside all of the subnet")
	}
}

func TestWhatASquareSays(t *testing.T) {
	set := busy()
	beside := in(survey.Free)
	beside.Why = "it is given to who asks for it (--ip) only: it lies outside the network's --ip-range"
	set["10.9.0.254"] = beside
	route := api.Subnet("lan", "", netip.MustParsePrefix("10.9.0.0/24"), netip.Prefix{})
	names := []api.NameView{
		{Record: zone.Record{Name: "web", Network: "lan", Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.5")}}},
		{Record: zone.Record{Name: "www", Network: "lan", Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.5")}}},
		{Record: zone.Record{Name: "other", Network: "lab", Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.5")}}},
	}
	p := read(t, answers{route: pictured("10.9.0.0/24", "10.9.0.0/24", set), api.NamesRoute: names}, "/subnet?network=lan&subnet=10.9.0.0/24")
	for addr, want := range map[string]string{
		"10.9.0.5":   "10.9.0.5, leased, container web on host h1, MAC 02:42:0a:09:00:05, name web.lan www.lan, since 8 hours",
		"10.9.0.2":   "10.9.0.2, auxiliary, printer",
		"10.9.0.3":   "10.9.0.3, free",
		"10.9.0.254": "10.9.0.254, free, given with --ip only",
		"10.9.0.100": "10.9.0.100, held for a stopped container, container nightly on host h2, since 1 minute",
		"10.9.0.129": "10.9.0.129, in conflict, not ours, host h3, MAC 3c:52:82:11:22:33, since 7 minutes",
		"10.9.0.131": "10.9.0.131, in conflict, container printer-queue on host h2, MAC 3c:52:82:11:22:44 on the LAN uses it too, seen by host h1, MAC 02:42:0a:09:00:83, since 1 day",
		"10.9.0.200": "10.9.0.200, reserved, for container camera, MAC 02:42:0a:09:00:c8, the one at the door",
		"10.9.0.251": "10.9.0.251, host's own, it is of an interface of host h2",
	} {
		square := p.id("a-" + addr)
		if square["aria-label"] != want {
			t.Errorf("%s says %q, and not %q", addr, square["aria-label"], want)
		}
		if href := "/lease?address=" + addr + "&segment=default"; square["href"] != href {
			t.Errorf("%s leads to %s, and not to %s", addr, square["href"], href)
		}
	}
	if row := p.id("l-10.9.0.5"); row[""] != "10.9.0.5 ● leased web h1 02:42:0a:09:00:05 8 hours" {
		t.Errorf("the list says %q", row[""])
	}
	if strings.Contains(p.text, `id="l-10.9.0.3"`) || strings.Contains(p.text, `id="l-10.9.0.224"`) {
		t.Error("what is nobody's is listed")
	}
}

// TestTheListOfASubnetEnds: the rest of it is on the pages of the parts.
func TestTheListOfASubnetEnds(t *testing.T) {
	p := shows(t, pictured("10.9.0.0/22", "10.9.0.0/22", crowded()))
	if n := strings.Count(p.text, `<tr id="l-`); n != mostHeld {
		t.Errorf("%d addresses are listed", n)
	}
	p.says("768 more are in the picture")
}

// crowded is a /22 whose every address a container has.
func crowded() map[string]api.LeaseView {
	set := map[string]api.LeaseView{}
	for i := range 1024 {
		set[fmt.Sprintf("10.9.%d.%d", i/256, i%256)] = leased(fmt.Sprintf("service-worker-%d", i), "host-1", fmt.Sprintf("02:42:0a:09:%02x:%02x", i/256, i%256), time.Hour)
	}
	return set
}

// mostOfASquare is how many bytes of a page an address may cost at the most, with
// its share of the list.
const mostOfASquare = 400

func TestAPageOfManySquaresIsLean(t *testing.T) {
	empty := shows(t, pictured("10.9.0.0/22", "10.9.0.0/22", nil))
	full := shows(t, pictured("10.9.0.0/22", "10.9.0.0/22", crowded()))
	if n := len(empty.text) / 1024; n > 150 {
		t.Errorf("a free address costs %d bytes", n)
	}
	if n := len(full.text) / 1024; n > mostOfASquare {
		t.Errorf("a leased address costs %d bytes", n)
	}
	t.Logf("free: %d bytes, leased: %d bytes", len(empty.text)/1024, len(full.text)/1024)
}

func BenchmarkSubnet(b *testing.B) {
	v := pictured("10.9.0.0/22", "10.9.0.0/22", crowded())
	site := newSite(b, answers{api.Subnet("lan", "", v.Subnet, netip.Prefix{}): v})
	for b.Loop() {
		if w := get(b, site, "/subnet?network=lan&subnet=10.9.0.0/22"); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

func TestBlocks(t *testing.T) {
	v := api.SubnetView{
		Network: "lan", Segment: "default", Node: "id1", Host: "h1", Subnet: netip.MustParsePrefix("10.8.0.0/15"), At: netip.MustParsePrefix("10.9.0.0/16"),
		Counts: map[survey.State]int{survey.Leased: 128, survey.Gateway: 1}, AsOf: noon.Add(-2 * time.Minute),
	}
	for i := range 256 {
		v.Blocks = append(v.Blocks, api.BlockView{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.9.%d.0/24", i)), Size: 256, Counts: map[survey.State]int{}})
	}
	v.Blocks[0].Counts = map[survey.State]int{survey.Leased: 128, survey.Gateway: 1}
	route := api.Subnet("lan", "id1", v.Subnet, v.At)
	p := read(t, answers{route: v}, "/subnet?network=lan&node=id1&subnet=10.8.0.0/15&at=10.9.0.0/16")
	p.says("which only host h1 has", "What host h1 excludes from its own network", "etcd does not answer this host: this is what containers had 2 minutes ago", "65407 free")
	p.leads("lan", "/network?name=lan&node=id1")
	p.leads("10.8.0.0/15", "/subnet?network=lan&node=id1&subnet=10.8.0.0%2F15")
	p.leads("10.9.0.0/24 128 leased, 1 other", "/subnet?at=10.9.0.0%2F24&network=lan&node=id1&subnet=10.8.0.0%2F15")
	p.leads("10.9.255.0/24 free", "/subnet?at=10.9.255.0%2F24&network=lan&node=id1&subnet=10.8.0.0%2F15")
	if !strings.Contains(p.text, `title="128 leased, 1 gateway"`) || !strings.Contains(p.text, `<rect class="is-leased" x="0" width="50" height="1"/><rect class="is-gateway" x="50" width="1" height="1"/>`) {
		t.Errorf("the bar of 10.9.0.0/24 is another one")
	}
	if strings.Contains(p.text, "are shown") {
		t.Error("blocks are left out")
	}
	v.Empty, v.Blocks = true, v.Blocks[:1]
	read(t, answers{route: v}, "/subnet?network=lan&node=id1&subnet=10.8.0.0/15&at=10.9.0.0/16").says("Only blocks with something in them are shown")
	v.Blocks = nil
	read(t, answers{route: v}, "/subnet?network=lan&node=id1&subnet=10.8.0.0/15&at=10.9.0.0/16").says("No address is anything but free or excluded")
	v.Subnet, v.At, v.Node = netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("fd00::/64"), ""
	v.Blocks = []api.BlockView{{Prefix: netip.MustParsePrefix("fd00::/120"), Size: 256, Counts: map[survey.State]int{survey.Leased: 2000}}}
	p = shows(t, v)
	p.says("2^64 free")
	for n := range p.root.Descendants() {
		if n.Type != markup.ElementNode || n.Data != "rect" {
			continue
		}
		x, xErr := strconv.ParseFloat(attr(n, "x"), 64)
		width, widthErr := strconv.ParseFloat(attr(n, "width"), 64)
		if xErr != nil || widthErr != nil || x+width > 100 {
			t.Errorf("a bar of %s from %s on is wider than there is room", attr(n, "width"), attr(n, "x"))
		}
	}
}

// TestASubnetIsAskedWrongly: who typed it is told.
func TestASubnetIsAskedWrongly(t *testing.T) {
	site := newSite(t, answers{
		api.Subnet("lab", "", netip.Prefix{}, netip.Prefix{}): api.Missing(errors.New("no such network: lab")),
		api.Subnet("lan", "", netip.Prefix{}, netip.Prefix{}): store.ErrUnavailable,
	})
	for path, want := range map[string]struct {
		status int
		says   string
	}{
		"/subnet?network=lab":               {http.StatusNotFound, "no such network: lab"},
		"/subnet?network=lan":               {http.StatusServiceUnavailable, "etcd"},
		"/subnet?network=lan&subnet=10":     {http.StatusBadRequest, "is no subnet: write it like 192.168.1.0/24"},
		"/subnet?network=lan&at=%00%3Cb%3E": {http.StatusBadRequest, "at=&#34;\\x00&lt;b&gt;&#34; is no subnet"},
	} {
		if w := get(t, site, path); w.Code != want.status || !strings.Contains(w.Body.String(), want.says) {
			t.Errorf("%s is answered %d, and not %d with %q: %s", path, w.Code, want.status, want.says, w.Body)
		}
	}
}
