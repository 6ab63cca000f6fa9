package main

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPattern(t *testing.T) {
	const events = `{"Action":"fail","Package":"p","Test":"TestNames/20.10/web"}
{"Action":"fail","Package":"p","Test":"TestNames/20.10"}
{"Action":"fail","Package":"p","Test":"TestNames/28.5"}
{"Action":"fail","Package":"p","Test":"TestNames","Elapsed":145}
{"Action":"fail","Package":"p","Test":"TestLoss","Elapsed":9.6}
{"Action":"pass","Package":"p","Test":"TestModes","Elapsed":80}
{"Action":"pass","Package":"p","Test":"TestModes/l2","Elapsed":79}
{"Action":"pass","Package":"p","Test":"TestBeside/20.10","Elapsed":90}
{"Action":"pass","Package":"p","Test":"TestBeside/20.10/deep","Elapsed":89}
{"Action":"pass","Package":"p","Test":"TestBeside","Elapsed":0}
{"Action":"pass","Package":"p","Test":"TestQuick","Elapsed":0.2}
`
	r := newReader(io.Discard)
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, below := range r.failed {
		got[name] = below.pattern(name)
	}
	want := map[string]string{"TestNames": `^TestNames$/^(20\.10|28\.5)$`, "TestLoss": "^TestLoss$"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("patterns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("TestNames 145s, TestBeside/20.10 90s, TestModes 80s", r.slowest(3)); diff != "" {
		t.Errorf("slowest (-want +got):\n%s", diff)
	}
}
