package ipam

import (
	"net/netip"
	"testing"

	"gvlan/ipam/mirror"
)

// TestUsage: what a subnet has left for who asks for no address in particular,
// and what became of the requests.
func TestUsage(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		h.KeepOut(map[netip.Addr]string{netip.MustParseAddr("10.0.0.12"): "h1"}, true)
		n := h.mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, ranges: []string{"10.0.0.8/29"}, gateways: []string{"10.0.0.15"}, opts: map[string]string{"cooldown": "1h", "exclude": "10.0.0.9,10.0.0.11"}})
		for range 3 { // .8, .10 and .13
			n.mustRun("", "")
		}
		n.mustRun("", "10.0.0.99") // outside the range
		n.mustRun("", "10.0.0.14").stop()
		want := Usage{Network: n.id, Subnet: netip.MustParsePrefix("10.0.0.0/24"), Usage: mirror.Usage{Used: 3, Resting: 1}}
		h.waitFor("the mirror shows 3 used and 1 at rest", func() bool {
			got := h.Usage()
			return len(got) == 1 && got[0] == want
		})
		n.mustRun("", "")
		_, err := n.run("", "")
		checkErr(c, err, "every address of 10.0.0.8/29 is taken")
		_, err = n.run("", "10.0.0.9")
		checkErr(c, err, "excluded")
		h.down()
		_, err = n.run("", "")
		checkErr(c, err, "no new address can be given now")
		if got, want := h.Counts(), (Counts{Given: 7, Full: 1, Withheld: 1, Refused: 1}); got != want {
			c.Errorf("counted %+v, want %+v", got, want)
		}
	})
}
