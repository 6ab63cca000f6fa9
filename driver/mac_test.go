package driver

import (
	"net"
	"strings"
	"testing"
)

// TestAMACThatIsTaken is refused with who has it, and leaves nothing.
func TestAMACThatIsTaken(t *testing.T) {
	c := newCluster(t)
	h1, h2 := c.host("h1"), c.host("h2")
	nic := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	h1.links.SetMAC("eth1", nic)
	h1.create(lan("lan1", "10.0.1.0/24"))
	h1.replica("lan1")
	h2.replica("lan1")
	other := lan("lan2", "10.0.2.0/24")
	other.IPAM.Options = map[string]string{"segment": "other"}
	h1.create(other)
	h1.replica("lan2")
	web := h1.run("web", "lan1", ip("10.0.1.50"), mac("02:11:22:33:44:55"))
	db := h1.run("db", "lan1", ip("10.0.1.51"))
	for _, tt := range []struct {
		on        *machine
		network   string
		mac, want string
	}{
		{h1, "lan1", "02:11:22:33:44:55", "in use by"},
		{h2, "lan1", "02:11:22:33:44:55", "in use by"},
		{h1, "lan1", db.mac, "in use by"},
		{h1, "lan2", "02:11:22:33:44:55", "on eth1 of node h1"}, // another segment, which says nothing about the link
		{h1, "lan1", nic.String(), "is that of eth1 itself on node h1"},
	} {
		_, err := tt.on.tryRun("thief", tt.network, mac(tt.mac))
		if err == nil || !strings.Contains(err.Error(), tt.mac) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s on %s of %s: error %v, want one of %q", tt.mac, tt.network, tt.on.name, err, tt.want)
		}
	}
	for _, address := range []string{"10.0.1.2", "10.0.1.3", "10.0.2.2"} {
		c.held(address, false)
	}
	web.stop()
	h2.run("web", "lan1", mac("02:11:22:33:44:55"))
}
