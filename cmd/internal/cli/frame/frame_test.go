package frame_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
)

// thing is what the list of these tests has.
type thing struct {
	Name  string `json:"name"`
	State string `json:"state"`
	ID    string `json:"id"`
}

// command is `gvlan thing`.
func command() *cobra.Command {
	list := frame.Listing(&cobra.Command{Use: "ls", Args: cobra.NoArgs}, frame.At[[]thing]("/v1/things"), frame.List[thing]{
		Name: func(t thing) string { return t.Name },
		Columns: func(time.Time) []frame.Column[thing] {
			return []frame.Column[thing]{
				{Head: "NAME", Cell: func(t thing) string { return t.Name }},
				{Head: "STATE", Cell: func(t thing) string { return t.State }},
				{Head: "ID", Wide: true, Cell: func(t thing) string { return t.ID }},
			}
		},
		Empty: "there are no things",
	})
	var failing error
	fail := &cobra.Command{Use: "fail HOW", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		failing = map[string]error{
			"tried": errors.New("it broke"), "typed": frame.Misusef("HOW %q: give another", args[0]), "found": fmt.Errorf("three: %w", frame.ErrUnhealthy),
			"said": frame.Told(errors.New("it broke")),
		}[args[0]]
		return failing
	}}
	return frame.Group("thing", "Things", list, fail)
}

func TestCommandsAreAlike(t *testing.T) {
	things := clitest.Answers{"GET /v1/things": []thing{{"a", "ready", "id1"}, {"b", "", "id2"}}}
	nothing := clitest.Answers{"GET /v1/things": []thing(nil)}
	tests := []struct {
		name    string
		answers clitest.Answers
		args    string
		want    clitest.Typed
	}{
		{"table", things, "ls", clitest.Typed{Out: "NAME   STATE\na      ready\nb      -\n"}},
		{"wide table", things, "ls --wide", clitest.Typed{Out: "NAME   STATE   ID\na      ready   id1\nb      -       id2\n"}},
		{"names", things, "ls -q", clitest.Typed{Out: "a\nb\n"}},
		{"format", things, "ls --format {{.Name}}={{.ID}}", clitest.Typed{Out: "a=id1\nb=id2\n"}},
		{"format of JSON", things, "ls --format json", clitest.Typed{Out: `{"name":"a","state":"ready","id":"id1"}` + "\n" + `{"name":"b","state":"","id":"id2"}` + "\n"}},
		{"format of a field that is not there", things, "ls --format {{.Nmae}}", clitest.Typed{Status: frame.Misused,
			Err: `gvlan: --format "{{.Nmae}}": there is no .Nmae; did you mean .Name?` + "\n"}},
		{"format of such a field of nothing", nothing, "ls --format {{if(.Name)}}{{else}}{{.Xyzzy|json}}{{end}}", clitest.Typed{Status: frame.Misused,
			Err: `gvlan: --format "{{if(.Name)}}{{else}}{{.Xyzzy|json}}{{end}}": there is no .Xyzzy; there are .Name, .State, .ID` + "\n"}},
		{"two ways to print", things, "ls -q --json", clitest.Typed{Status: frame.Misused, Err: "gvlan: --json, --quiet and --format exclude one another: give one\n"}},
		{"an empty list", nothing, "ls", clitest.Typed{Err: "there are no things\n"}},
		{"an empty list as JSON", nothing, "ls --json", clitest.Typed{Out: "[]\n"}},
		{"an empty list of names", nothing, "ls -q", clitest.Typed{}},
		{"a mistyped command", things, "fial", clitest.Typed{Status: frame.Misused, Err: "gvlan: gvlan thing has no command \"fial\"; did you mean gvlan thing fail?\n"}},
		{"a command begun", things, "l --quiet", clitest.Typed{Status: frame.Misused, Err: "gvlan: gvlan thing has no command \"l\"; did you mean gvlan thing ls?\n"}},
		{"a command like none", things, "frobnicate", clitest.Typed{Status: frame.Misused, Err: "gvlan: gvlan thing has no command \"frobnicate\"; see gvlan thing --help\n"}},
		{"a mistyped flag", things, "ls --wied", clitest.Typed{Status: frame.Misused, Err: "gvlan: unknown flag: --wied; did you mean --wide?\n"}},
		{"an argument too many", things, "ls it", clitest.Typed{Status: frame.Misused, Err: "gvlan: gvlan thing ls takes no argument, and got it\n"}},
		{"an argument too few", nil, "fail", clitest.Typed{Status: frame.Misused, Err: "gvlan: gvlan thing fail wants HOW, and got nothing; see gvlan thing fail --help\n"}},
		{"what did not work", nil, "fail tried", clitest.Typed{Status: frame.Failed, Err: "gvlan: it broke\n"}},
		{"what was said already", nil, "fail said", clitest.Typed{Status: frame.Failed}},
		{"what was typed wrong", nil, "fail typed", clitest.Typed{Status: frame.Misused, Err: "gvlan: HOW \"typed\": give another\n"}},
		{"what found something", nil, "fail found", clitest.Typed{Status: frame.Unhealthy}},
		{"the agent's error", clitest.Answers{"GET /v1/things": errors.New("etcd does not answer")}, "ls", clitest.Typed{Status: frame.Failed, Err: "gvlan: etcd does not answer\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			socket := ""
			if test.answers != nil {
				socket = clitest.Agent(t, test.answers)
			}
			got := clitest.Type(t, command(), socket, strings.Fields(test.args)...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("gvlan thing %s (-want +got):\n%s", test.args, diff)
			}
		})
	}
}

func TestFormatAsTable(t *testing.T) {
	socket := clitest.Agent(t, clitest.Answers{"GET /v1/things": []thing{{"a", "rea\n\tdy", "id1"}}})
	got := clitest.Type(t, command(), socket, "ls", "--format", `table {{.Name}}\t{{.State}} now`)
	if diff := cmp.Diff(clitest.Typed{Out: "NAME   STATE NOW\na      rea;  dy now\n"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
