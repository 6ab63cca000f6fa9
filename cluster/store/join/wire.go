package join

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gvlan/cluster/store"
)

// The routes of a door. Nothing but joining is answered without a certificate.
const (
	joinRoute    = "/v1/join"
	renewRoute   = "/v1/renew"
	custodyRoute = "/v1/custody"
	memberRoute  = "/v1/member"
	membersRoute = "/v1/members"
	lifeRoute    = "/v1/life"
)

// maxRequest and maxAnswer bound what either side reads of the other, in bytes.
const (
	maxRequest = 64 << 10
	maxAnswer  = 4 << 20
)

// doorOffset is how far a door's port is above the base port of its member.
const doorOffset = 2

// defaultBase is the base port of a member where nobody chose one.
const defaultBase = 2379

// joinRequest is what a host without a certificate asks.
type joinRequest struct {
	Secret string `json:"secret"`
	Applicant
	CSR []byte `json:"csr"` // DER
}

// Applicant is the host that wants to join.
type Applicant struct {
	Node string `json:"node"`
	Host string `json:"host"` // host name, for people
	// Install is the id of its data directory: a host may take its own name
	// again while the store still has it connected.
	Install string `json:"install,omitempty"`
}

// certificateRequest asks for a node's or a member's certificate.
type certificateRequest struct {
	CSR []byte `json:"csr"` // DER
}

// Answer is what a host is given that joins or renews.
type Answer struct {
	Certificate []byte  `json:"certificate"` // DER
	Roots       []byte  `json:"roots"`       // PEM, the oldest first
	Members     []Place `json:"members,omitempty"`
	Cluster     string  `json:"cluster,omitempty"` // uuid; "" while the store has none
}

// Place is where a member of the cluster's own store is reached.
type Place struct {
	Node   string `json:"node"`
	Client string `json:"client"` // host:port
	Door   string `json:"door"`   // host:port
	// Learner: it has a copy, and answers no client.
	Learner bool `json:"learner,omitempty"`
}

// lifeRequest is what a host says that asks which life the store is in.
type lifeRequest struct {
	Life store.Life `json:"life"`           // of what it has itself
	Door string     `json:"door,omitempty"` // of itself, where that can be heard from a member; "" when it runs none
}

// Standing is what a door knows of the store: which life it is in, and where its
// members are.
type Standing struct {
	Life    store.Life `json:"life"`
	Members []Place    `json:"members"`
}

// refusal is how a door says no.
type refusal struct {
	Code   string `json:"code"`
	Node   string `json:"node,omitempty"`
	Host   string `json:"host,omitempty"`
	Addr   string `json:"address,omitempty"`
	Member bool   `json:"member,omitempty"`
}

// DoorOf returns the address of the door of a member whose base address is
// given, which may lack its port.
func DoorOf(base string) (string, error) {
	host, text, err := net.SplitHostPort(base)
	if err != nil { // without a port, as people write it
		host, text = strings.Trim(base, "[]"), strconv.Itoa(defaultBase)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || port+doorOffset > 65535 || host == "" || strings.ContainsAny(host, "/@ ") {
		return "", fmt.Errorf("address %q: want HOST or HOST:PORT, with the port from 1 to %d", base, 65535-doorOffset)
	}
	return net.JoinHostPort(host, strconv.FormatUint(port+doorOffset, 10)), nil
}

// check reports what is wrong with an applicant, as ErrBadRequest. Its words go
// into a certificate, a key and the log.
func (a Applicant) check() error {
	if a.Node == "" {
		return fmt.Errorf("%w: it names no node", ErrBadRequest)
	}
	for _, word := range []string{a.Node, a.Host, a.Install} {
		odd := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
		if len(word) > 253 || strings.ContainsFunc(word, odd) {
			return fmt.Errorf("%w: a name is too long or cannot be printed", ErrBadRequest)
		}
	}
	return nil
}
