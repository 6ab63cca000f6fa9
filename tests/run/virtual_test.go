package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestVirtualTests(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"virtual_test.go": "//go:build !race\n\npackage p\n\nfunc TestClock() {}\nfunc helper() {}\n",
		"real_test.go":    "package p\n\nfunc TestReal() {}\n",
		"linux_test.go":   "//go:build linux\n\npackage p\n\nfunc TestLinux() {}\n",
		"both_test.go":    "//go:build linux && !race\n\npackage p\n\nfunc TestBoth() {}\n",
	}
	var names []string
	for _, name := range []string{"both_test.go", "linux_test.go", "real_test.go", "virtual_test.go"} {
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := goPackage{ImportPath: "p", Dir: dir, Tests: names}
	without := goPackage{ImportPath: "q", Dir: dir, Tests: []string{"real_test.go"}}

	got, err := virtualTests([]goPackage{without, p})
	if err != nil {
		t.Fatal(err)
	}
	want := virtualSet{packages: []goPackage{p}, tests: []string{"TestBoth", "TestClock"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(virtualSet{})); diff != "" {
		t.Errorf("virtualTests (-want +got):\n%s", diff)
	}
}

func TestChoose(t *testing.T) {
	all := []suite{{name: "unit"}, {name: "docker"}}
	tests := []struct {
		name    string
		args    []string
		want    []string
		wantErr string
	}{
		{name: "all by default", want: []string{"unit", "docker"}},
		{name: "by name", args: []string{"docker"}, want: []string{"docker"}},
		{name: "a wrong name", args: []string{"dokcer"}, wantErr: `no suite is called "dokcer"; there are: unit, docker`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := choose(all, test.args)
			if diff := cmp.Diff(test.wantErr, text(err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, namesOf(got)); diff != "" {
				t.Errorf("suites (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	docker, swarm, unit := suite{name: "docker"}, suite{name: "swarm", beside: "docker"}, suite{name: "unit"}
	tests := []struct {
		name   string
		suites []suite
		want   [][]string
	}{
		{name: "beside the one it names", suites: []suite{unit, docker, swarm}, want: [][]string{{"unit"}, {"docker", "swarm"}}},
		{name: "not beside another", suites: []suite{unit, swarm}, want: [][]string{{"unit"}, {"swarm"}}},
		{name: "alone", suites: []suite{swarm}, want: [][]string{{"swarm"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got [][]string
			for _, group := range groups(test.suites) {
				got = append(got, namesOf(group))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBudgets(t *testing.T) {
	var all time.Duration
	for _, group := range groups(suites()) {
		var longest time.Duration
		for _, s := range group {
			if s.budget <= 0 {
				t.Errorf("suite %s has no budget", s.name)
			}
			longest = max(longest, s.budget)
		}
		all += longest
	}
	if all > allBudget {
		t.Errorf("the budgets add up to %s, more than %s", all, allBudget)
	}
}
