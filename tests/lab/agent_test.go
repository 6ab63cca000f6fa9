package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

func TestAgentServesItsHostsEngine(t *testing.T) {
	binary, err := lab.Build(t.Context(), "gvlan/tests/lab/recorder")
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range releases {
		t.Run(string(release), func(t *testing.T) {
			l := lab.New(t, lab.Options{Hosts: lab.Same(1, release)})
			h := l.Hosts[0]
			trace := filepath.Join(l.Dir, "trace")
			agent, err := h.StartAgent(t.Context(), lab.AgentOptions{
				Binary: binary, Plugin: "recorder", Args: []string{"-trace", trace},
			})
			if err != nil {
				t.Fatal(err)
			}
			create := []string{"network", "create", "-d", "recorder", "--ipam-driver", "recorder", "--subnet"}
			h.MustDocker(t, append(create, "10.98.0.0/24", "lan1")...)
			before := agent.PID
			if err := agent.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := agent.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if agent.PID == before {
				t.Errorf("agent is still process %d", before)
			}
			h.MustDocker(t, append(create, "10.97.0.0/24", "lan2")...)
			data, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(string(data), "NetworkDriver.CreateNetwork"); got != 2 {
				t.Errorf("agent saw %d networks created, want 2", got)
			}
		})
	}
}
