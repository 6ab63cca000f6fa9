package terminal

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// screen is a terminal of that many columns.
type screen struct {
	bytes.Buffer
	columns int
}

func (s *screen) Width() int { return s.columns }

func TestTable(t *testing.T) {
	table := Table{
		Heads: []string{"NODE", "STATE", "WHY"},
		Rows: [][]string{
			{"h1", "ready", ""},
			{"h2", "down", "no usable parent interface: eth7 does not exist, wlan0 is wireless"},
		},
	}
	tests := []struct {
		name    string
		columns int
		want    string
	}{
		{"no terminal", 0, `NODE   STATE   WHY
h1     ready   -
h2     down    no usable parent interface: eth7 does not exist, wlan0 is wireless
`},
		{"a terminal", 40, `NODE   STATE   WHY
h1     ready   -
h2     down    no usable parent
               interface: eth7 does not
               exist, wlan0 is wireless
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out := &screen{columns: test.columns}
			if err := table.Print(out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTableFits: whatever is in it, as long as the columns have room to stand.
func TestTableFits(t *testing.T) {
	long := strings.Repeat("x", 90)
	for _, row := range [][]string{
		{long}, {long, long}, {"a", long, "b", long}, {"büro, lager, " + long, "c", "d"}, {long, long, long, long},
	} {
		out := &screen{columns: 80}
		table := Table{Heads: make([]string, len(row)), Rows: [][]string{row}}
		if err := table.Print(out); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("a line of %d columns: %q", n, line)
			}
		}
		count := func(text string) int { return strings.Count(text, "x") }
		if got, want := count(out.String()), count(strings.Join(row, "")); got != want {
			t.Errorf("%d letters of %d are printed", got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for _, test := range []struct {
		span time.Duration
		want string
	}{
		{-time.Second, "0 seconds"},
		{300 * time.Millisecond, "0 seconds"},
		{time.Second, "1 second"},
		{59 * time.Second, "59 seconds"},
		{time.Minute, "1 minute"},
		{90 * time.Second, "90 seconds"},
		{2*time.Minute + time.Second, "2 minutes"},
		{time.Hour, "1 hour"},
		{90 * time.Minute, "90 minutes"},
		{24 * time.Hour, "1 day"},
		{30 * time.Hour, "30 hours"},
		{720*time.Hour + 13*time.Minute, "30 days"},
		{800 * 24 * time.Hour, "2 years"},
	} {
		if got := Span(test.span); got != test.want {
			t.Errorf("%s is %q, want %q", test.span, got, test.want)
		}
	}
}

func TestInCells(t *testing.T) {
	value := struct {
		Name   string
		ByHost map[string]int
		Deeper map[string][]string
	}{"a\nb", map[string]int{"h\n1": 1}, map[string][]string{"k\t": {"v\r\nw"}}}
	InCells(&value)
	if got := fmt.Sprintf("%+v", value); got != "{Name:a; b ByHost:map[h; 1:1] Deeper:map[k :[v; w]]}" {
		t.Errorf("%q", got)
	}
}
