package lab_test

import (
	"testing"

	"gvlan/tests/lab"
)

func TestContainersOfTwoHostsReachEachOther(t *testing.T) {
	for _, release := range []lab.Release{lab.Docker20, lab.Docker28} {
		t.Run(string(release), func(t *testing.T) {
			l := lab.New(t, lab.Options{Hosts: lab.Same(2, release)})
			for i, addr := range []string{"10.98.0.1", "10.98.0.2"} {
				h := l.Hosts[i]
				h.MustDocker(t, "network", "create", "-d", "macvlan", "--subnet", "10.98.0.0/24",
					"--gateway", "10.98.0.254", "-o", "parent=eth1", "lan1")
				h.MustDocker(t, "run", "-d", "--network", "lan1", "--ip", addr, "--name", "web", "busybox", "sleep", "1000")
			}
			l.Hosts[0].MustDocker(t, "exec", "web", "ping", "-c", "1", "-w", "5", "10.98.0.2")
		})
	}
}
