package api_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
)

// TestNobodyAnswers: on a node of a swarm the other agent is often the one
// that was meant.
func TestNobodyAnswers(t *testing.T) {
	tests := []struct {
		name, asked string
		there       string // a socket that is there
		want        string
	}{
		{"no agent at all", "gvlan.sock", "", "systemctl start gvlan"},
		{"only the managed plugin", "gvlan.sock", config.SwarmSocket, "add --swarm"},
		{"the plugin is not enabled", config.SwarmSocket, "gvlan.sock", "docker plugin enable gvlan-swarm:latest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			folder := t.TempDir()
			if tt.there != "" {
				if err := os.WriteFile(filepath.Join(folder, tt.there), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := api.NewClient(filepath.Join(folder, tt.asked)).Get(t.Context(), api.StatusRoute, &struct{}{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q in it", err, tt.want)
			}
		})
	}
}
