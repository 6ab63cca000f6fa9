package driver

import (
	"strings"
	"testing"
	"unicode"
)

// TestErrorsForDockerAreVisible: they name hosts and containers of others, and
// Docker prints them as they are.
func TestErrorsForDockerAreVisible(t *testing.T) {
	c := newCluster(t)
	h1, odd := c.host("h1"), c.host("odd\x1b[2J\u009b")
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.replica("lan1")
	odd.replica("lan1")
	odd.run("web", "lan1", ip("192.168.1.50"))
	_, err := h1.tryRun("api", "lan1", ip("192.168.1.50"))
	h1.wantErr(err, "in use", `odd\u001b[2J\u009b`)
	if err != nil && strings.ContainsFunc(err.Error(), unicode.IsControl) {
		t.Errorf("Docker is told %q", err)
	}
}
