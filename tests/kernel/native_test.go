package kernel_test

import (
	"os/exec"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestMissingModules: a kernel that lacks a kind of link refuses the network
// when it is made, naming the module and the first kernel that has it. This
// machine's own kernel is asked which it lacks; the suite would be blind on one
// that has them all.
func TestMissingModules(t *testing.T) {
	t.Parallel()
	program, err := lab.Build(t.Context(), "gvlan/cmd/gvlan", "-ldflags", "-s -w")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Lab: lab.New(t, lab.Options{Hosts: lab.Same(1, lab.Docker20)}), t: t, program: program}
	h := s.Hosts[0]
	s.startEtcd("")
	s.startAgent(h)
	tests := []struct {
		name, options, words string
		probe                []string // makes such a link by hand
	}{
		{"ipvlan", "-o kind=ipvlan -o parent=eth1", "this kernel has no ipvlan links: they need Linux 4.2 or newer with the module ipvlan",
			[]string{"ip", "link", "add", "link", "eth1", "name", "probe", "type", "ipvlan", "mode", "l2"}},
		{"vlan", "-o parent=eth1.50", "this kernel has no vlan links: they need Linux 3.9 or newer with the module 8021q",
			[]string{"ip", "link", "add", "link", "eth1", "name", "probe", "type", "vlan", "id", "50"}},
		{"dummy", "-o scope=local", "this kernel has no dummy links: they need Linux 3.9 or newer with the module dummy",
			[]string{"ip", "link", "add", "name", "probe", "type", "dummy"}},
	}
	missing := 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := h.Exec(t.Context(), tt.probe[0], tt.probe[1:]...); err == nil {
				h.MustExec(t, "ip", "link", "del", "probe")
				t.Logf("this kernel has %s links", tt.name)
				return
			}
			missing++
			before := h.MustExec(t, "ip", "-o", "link")
			_, err := h.Exec(t.Context(), "sh", "-c", "docker network create -d gvlan --ipam-driver gvlan --subnet=10.91.0.0/24 "+tt.options+" lan")
			if err == nil || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("network create says %v, want %q", err, tt.words)
			}
			if left := h.MustDocker(t, "network", "ls", "-q", "--filter", "driver=gvlan"); left != "" {
				t.Errorf("network %s is left", left)
			}
			if after := h.MustExec(t, "ip", "-o", "link"); after != before {
				t.Errorf("links before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
	if release, _ := exec.CommandContext(t.Context(), "uname", "-r").Output(); missing == 0 {
		t.Logf("kernel %s has every kind of link: nothing was missing", strings.TrimSpace(string(release)))
	}
}
