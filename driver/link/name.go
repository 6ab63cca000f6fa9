package link

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

const (
	maxName        = 15 // IFNAMSIZ-1
	endpointPrefix = "gv"
	dummyPrefix    = "gvd-"
	vlanPrefix     = "gvv" // VLAN links of masters with long names
)

// EndpointName gives the host-side name of an endpoint's link, "gv" and 13
// hexadecimal digits. The same id always gives the same name.
func EndpointName(endpoint string) string {
	return endpointPrefix + digits(endpoint, maxName-len(endpointPrefix))
}

// DummyName gives the name of the dummy that is the parent of a network
// without one, "gvd-" and 11 hexadecimal digits.
func DummyName(network string) string {
	return dummyPrefix + digits(network, maxName-len(dummyPrefix))
}

// VLANName gives the name of the VLAN link vid on master: master.vid where it
// fits 15 characters, else a hash of the two that ends in .vid.
func VLANName(master string, vid int) string {
	name := master + "." + strconv.Itoa(vid)
	if len(name) <= maxName {
		return name
	}
	suffix := "." + strconv.Itoa(vid)
	return vlanPrefix + digits(master, maxName-len(vlanPrefix)-len(suffix)) + suffix
}

// VLANs gives the specs of the VLAN links for vids on master, outermost tag
// first, each the parent of the next.
func VLANs(master string, vids []int, owner string) []Spec {
	specs := make([]Spec, 0, len(vids))
	for _, vid := range vids {
		spec := Spec{Name: VLANName(master, vid), Kind: VLAN, Parent: master, VLAN: vid, Owner: owner}
		specs = append(specs, spec)
		master = spec.Name
	}
	return specs
}

// digits gives n hexadecimal digits of the hash of id. Docker's ids are
// hexadecimal already; swarm's and tests' are not.
func digits(id string, n int) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])[:n]
}

// String describes the spec for messages, as in `macvlan bridge link gv12 on eth0`.
func (s Spec) String() string {
	text := string(s.Kind)
	if s.Mode != "" {
		text += " " + string(s.Mode)
	}
	if s.Kind == Ipvlan && s.Flag != "" && s.Flag != FlagBridge {
		text += " " + string(s.Flag)
	}
	if s.Kind == VLAN {
		text += fmt.Sprintf(" %d", s.VLAN)
	}
	text += " link " + s.Name
	if s.Parent != "" {
		text += " on " + s.Parent
	}
	return text
}
