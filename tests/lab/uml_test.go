package lab_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

func TestUMLHasTheLinksThisKernelLacks(t *testing.T) {
	if !lab.RunInUML(t) {
		return
	}
	const script = `set -e
		ip link add eth0 type dummy
		ip link set eth0 up
		ip link add link eth0 name eth0.50 type vlan id 50
		ip link set eth0.50 up
		ip link add link eth0.50 name ipv0 type ipvlan mode l3
		ip link add link eth0 name mac0 type macvlan mode bridge
		ip link add bond0 type bond mode active-backup
		ip -o link | cut -d: -f2`
	out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("make links: %v: %s", err, out)
	}
	for _, want := range []string{"eth0.50@eth0", "ipv0@eth0.50", "mac0@eth0", "bond0"} {
		if !strings.Contains(string(out), " "+want+"\n") {
			t.Errorf("no link %s in:\n%s", want, out)
		}
	}
}

func TestUMLHasLabsWithVLANs(t *testing.T) {
	if !lab.RunInUML(t) {
		return
	}
	l := lab.New(t, lab.Options{Hosts: lab.Same(2, lab.Docker20)})
	for i, addr := range []string{"10.98.0.11", "10.98.0.12"} {
		h := l.Hosts[i]
		h.MustDocker(t, "network", "create", "-d", "ipvlan", "--subnet", "10.98.0.0/24", "-o", "parent=eth1.50", "lan50")
		h.MustDocker(t, "run", "-d", "--network", "lan50", "--ip", addr, "--name", "web", "busybox", "sleep", "1000")
	}
	l.Hosts[0].MustDocker(t, "exec", "web", "ping", "-c", "1", "-w", "10", "10.98.0.12")
}

func TestUMLTellsFailureFromSuccess(t *testing.T) {
	tests := []struct {
		name, script string
		want         int
		output       string
	}{
		{"success", "echo it\\'s fine", 0, "it's fine"},
		{"failure", "echo bad; exit 7", 7, "bad"},
		{"files are not written through", "touch /etc/gvlan-was-here", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var streamed bytes.Buffer
			got, err := lab.UML(t.Context(), lab.UMLOptions{Binary: "/bin/sh", Args: []string{"-c", tt.script}, Output: &streamed})
			if err != nil {
				t.Fatal(err)
			}
			if got.ExitCode != tt.want || !strings.Contains(got.Output, tt.output) {
				t.Errorf("got exit %d and %q, want %d and %q", got.ExitCode, got.Output, tt.want, tt.output)
			}
			if !strings.HasPrefix(streamed.String(), got.Output) {
				t.Errorf("streamed %q, want %q", streamed.String(), got.Output)
			}
		})
	}
	if err := exec.Command("test", "!", "-e", "/etc/gvlan-was-here").Run(); err != nil {
		t.Errorf("a program in UML wrote to this machine: %v", err)
	}
}
