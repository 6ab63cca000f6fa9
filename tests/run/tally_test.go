package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCount(t *testing.T) {
	tests := []struct {
		name    string
		events  string
		want    tally
		shown   []string
		hidden  []string
		verdict string
	}{
		{
			name: "passes stay quiet",
			events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA/sub"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}
`,
			want:   tally{passed: 2},
			hidden: []string{"chatter"},
		},
		{
			name: "a failure shows its output and fails its package once",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"want 1\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`,
			want:    tally{failed: 1},
			shown:   []string{"want 1", "FAIL p TestA"},
			verdict: "1 tests failed",
		},
		{
			name: "a package that does not build is a failure",
			events: `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: no\n"}
{"Action":"fail","Package":"p","FailedBuild":"p"}
`,
			want:    tally{failed: 1},
			shown:   []string{"p.go:1: no", "FAIL p"},
			verdict: "1 tests failed",
		},
		{
			name: "a skip is shown with its reason and is no pass",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"needs root\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p"}
`,
			want:    tally{passed: 1, skipped: 1},
			shown:   []string{"needs root", "SKIP p TestA"},
			verdict: "1 tests were skipped, and a skipped test proves nothing",
		},
		{
			name:    "a package without tests proves nothing",
			events:  `{"Action":"skip","Package":"p"}` + "\n",
			verdict: "no test ran",
		},
		{
			name: "figures are shown also when the test passes",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"    BENCH rss_mb 31\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
`,
			want:  tally{passed: 1},
			shown: []string{"BENCH rss_mb 31\n"},
		},
		{
			name:    "words of the toolchain are shown",
			events:  "go: no such module\n",
			shown:   []string{"go: no such module"},
			verdict: "no test ran",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			r := newReader(&out)
			err := r.read(strings.NewReader(test.events))
			got := r.counts
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(tally{})); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			for _, want := range test.shown {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			for _, unwanted := range test.hidden {
				if strings.Contains(out.String(), unwanted) {
					t.Errorf("output has %q", unwanted)
				}
			}
			if diff := cmp.Diff(test.verdict, text(got.verdict())); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
