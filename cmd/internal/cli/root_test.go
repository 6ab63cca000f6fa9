package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Operator commands run nothing: their --swarm says whom they ask.
func TestSwarmFlagOfOperatorCommands(t *testing.T) {
	var look func(c *cobra.Command)
	asking := 0
	look = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			look(sub)
		}
		flag := c.Flags().Lookup("swarm")
		if flag == nil || c.Flags().Lookup("driver-name") != nil {
			return
		}
		asking++
		if !strings.HasPrefix(flag.Usage, "ask the managed plugin") {
			t.Errorf("%s --swarm: %q", c.CommandPath(), flag.Usage)
		}
	}
	look(newRoot("v1", nil))
	if asking < 10 {
		t.Errorf("%d commands ask the agent, want at least 10", asking)
	}
}
