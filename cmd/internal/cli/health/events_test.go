package health

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
)

// happened is what these tests' agent tells of.
func happened() []api.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []api.Event{
		{Time: at, Kind: "network-made", Node: "n1", Host: "host1", Network: "lan"},
		{Time: at.Add(time.Second), Kind: "given", Node: "n1", Host: "host1", Network: "lan", Address: "192.168.100.130", MAC: "02:42:c0:a8:64:82", Container: "web", Endpoint: "0123456789ab"},
		{Time: at.Add(2 * time.Second), Kind: "conflict", Node: "n2", Host: "host2", Address: "192.168.100.7", Text: "in use by container db on node host1"},
		{Time: at.Add(3 * time.Second), Kind: "host-went", Node: "n2", Host: "host2", Text: "its agent was stopped"},
		{Time: at.Add(4 * time.Second), Kind: "given", Node: "n1", Host: "host1", Address: "192.168.100.131"},
	}
}

func TestEventColumns(t *testing.T) {
	now := time.Date(2026, 1, 2, 8, 0, 0, 0, time.UTC)
	var out strings.Builder
	list := frame.List[api.Event]{Columns: eventColumns}
	if err := list.Print(&out, happened(), now, false); err != nil {
		t.Fatal(err)
	}
	want := `TIME       NODE    EVENT          WHAT
03:04:05   host1   network-made   lan
03:04:06   host1   given          192.168.100.130 web (lan)
03:04:07   host2   conflict       192.168.100.7: in use by container db on node host1
03:04:08   host2   host-went      its agent was stopped
03:04:09   host1   given          192.168.100.131
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, "conflict") && utf8.RuneCountInString(line) > 81 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
	out.Reset()
	if err := list.Print(&out, happened()[:2], now.AddDate(0, 0, 1), true); err != nil {
		t.Fatal(err)
	}
	want = `TIME             NODE    EVENT          WHAT                        MAC                 ENDPOINT       NODE ID
Jan 2 03:04:05   host1   network-made   lan                         -                   -              n1
Jan 2 03:04:06   host1   given          192.168.100.130 web (lan)   02:42:c0:a8:64:82   0123456789ab   n1
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("with --wide (-want +got):\n%s", diff)
	}
}

func TestEvents(t *testing.T) {
	asked := make(chan string, 1)
	answers := func(e api.Events) clitest.Answers {
		return clitest.Answers{
			"GET " + api.EventsRoute: func(r *http.Request) (any, error) {
				asked <- r.URL.RawQuery
				return e, nil
			},
			"GET " + api.EventsFollowRoute: func(r *http.Request, tell func(any) error) error {
				asked <- r.URL.RawQuery
				for _, line := range []api.EventTold{{Alone: "etcd does not answer: these are this host's own events"}, {Event: &e.Events[0]}, {}, {Event: &e.Events[1]}} {
					if err := tell(line); err != nil {
						return err
					}
				}
				return nil
			},
		}
	}
	all, none := answers(api.Events{Events: happened()}), answers(api.Events{Events: []api.Event{}, Alone: "etcd does not answer: these are this host's own events"})
	ended := "gvlan: the agent ended\n"
	tests := []struct {
		name    string
		answers clitest.Answers
		args    string
		asked   string
		want    clitest.Typed
	}{
		{"names", all, "-q --limit 0", "", clitest.Typed{Out: "lan\n192.168.100.130\n192.168.100.7\nhost2\n192.168.100.131\n"}},
		{"filtered", all, "-q --kind given,released --network lan --node host1 --limit 9 --since 2026-01-02T03:04:05Z web",
			"kinds=given%2Creleased&limit=9&network=lan&node=host1&of=web&since=2026-01-02T03%3A04%3A05Z",
			clitest.Typed{Out: "lan\n192.168.100.130\n192.168.100.7\nhost2\n192.168.100.131\n"}},
		{"format", all, "--format {{.Kind}} --limit 5", "limit=5", clitest.Typed{Out: "network-made\ngiven\nconflict\nhost-went\ngiven\n"}},
		{"with etcd away", none, "--json --limit 0", "", clitest.Typed{Out: "[]\n", Err: "etcd does not answer: these are this host's own events\n"}},
		{"nothing", none, "", "limit=100", clitest.Typed{Err: "etcd does not answer: these are this host's own events\nnothing happened\n"}},
		{"followed", all, "--follow -q --limit 0", "", clitest.Typed{Status: frame.Failed, Out: "lan\n192.168.100.130\n",
			Err: "etcd does not answer: these are this host's own events\netcd answers again: events of every host\n" + ended}},
		{"followed as JSON", all, "-f --json --limit 0", "", clitest.Typed{Status: frame.Failed,
			Out: `{"time":"2026-01-02T03:04:05Z","kind":"network-made","node":"n1","host":"host1","network":"lan"}` + "\n" +
				`{"time":"2026-01-02T03:04:06Z","kind":"given","node":"n1","host":"host1","network":"lan","address":"192.168.100.130","mac":"02:42:c0:a8:64:82","container":"web","endpoint":"0123456789ab"}` + "\n",
			Err: "etcd does not answer: these are this host's own events\netcd answers again: events of every host\n" + ended}},
		{"followed by a template", all, "-f --limit 0 --format {{.Kind}}", "", clitest.Typed{Status: frame.Failed, Out: "network-made\ngiven\n",
			Err: "etcd does not answer: these are this host's own events\netcd answers again: events of every host\n" + ended}},
		{"a mistyped kind", all, "--kind givne", "-", clitest.Typed{Status: frame.Misused, Err: "gvlan: no event is of kind \"givne\"; did you mean given?\n"}},
		{"no time", all, "--since soon", "-", clitest.Typed{Status: frame.Misused, Err: "gvlan: --since \"soon\" is no time: give a duration as 1h30m, a time as 15:04 or 2027-01-02T15:04:05Z\n"}},
		{"no number", all, "--limit -1", "-", clitest.Typed{Status: frame.Misused, Err: "gvlan: --limit -1: give a number of events, 0 for all\n"}},
		{"a mistyped kind, followed", all, "-f --kind givne", "-", clitest.Typed{Status: frame.Misused, Err: "gvlan: no event is of kind \"givne\"; did you mean given?\n"}},
		{"the agent refuses", clitest.Answers{"GET " + api.EventsRoute: func(*http.Request) (any, error) { asked <- "limit=100&node=x"; return nil, http.ErrNotSupported }},
			"--node x", "limit=100&node=x", clitest.Typed{Status: frame.Failed, Err: "gvlan: feature not supported\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := clitest.Type(t, NewEvents(), clitest.Agent(t, test.answers), strings.Fields(test.args)...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("gvlan events %s (-want +got):\n%s", test.args, diff)
			}
			query := "-"
			select {
			case query = <-asked:
			default:
			}
			if query != test.asked {
				t.Errorf("asked for %q, want %q", query, test.asked)
			}
		})
	}
}
