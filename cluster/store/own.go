package store

// Member is a host's place in the cluster's own store, the etcd that gvlan
// brings along. The host that is asked to take one finds its key here.
type Member struct {
	Node    string `json:"node"`
	ID      string `json:"id"`     // of the etcd member, hexadecimal
	Peer    string `json:"peer"`   // host:port other members reach it at
	Client  string `json:"client"` // host:port clients reach it at
	Door    string `json:"door"`   // host:port others join at
	Learner bool   `json:"learner,omitempty"`

	Unknown `json:"-"`
}

// Size says how many voters somebody wants; without one the number follows from
// the number of hosts.
type Size struct {
	Voters int `json:"voters"` // 1, 3 or 5

	Unknown `json:"-"`
}

// JoinSecret is what the secret of a token is compared with. The secret itself
// is on members' hosts only.
type JoinSecret struct {
	Digest string `json:"digest"` // hexadecimal SHA-256 of the secret
	Since  int64  `json:"since"`  // unix seconds; for people

	Unknown `json:"-"`
}

// Roots are the authorities that certificates of this cluster come from.
type Roots struct {
	PEM     []string `json:"pem"`     // their certificates, the oldest first
	Signing string   `json:"signing"` // fingerprint of the one that signs, hexadecimal SHA-256
	Since   int64    `json:"since"`   // unix seconds, when that one began; for people
	// Exposed is what a host took with it that was evicted; nil: nothing that is
	// not replaced already.
	Exposed *Exposed `json:"exposed,omitempty"`

	Unknown `json:"-"`
}

// Exposed is what has to be replaced, because a host that was evicted had it.
type Exposed struct {
	Roots  []string `json:"roots"`  // fingerprints of authorities
	Secret string   `json:"secret"` // digest, as in JoinSecret

	Unknown `json:"-"`
}

// Certificate is one that was given to a node. Who is evicted finds its own
// revoked, and so refused by every member.
type Certificate struct {
	Node   string `json:"node"`
	Serial string `json:"serial"` // hexadecimal
	// Sum is the hexadecimal SHA-256 of the certificate: who stole the authority can
	// sign another one of this number.
	Sum     string `json:"sum"`
	Root    string `json:"root"` // fingerprint of the authority that signed it
	Ends    int64  `json:"ends"` // unix seconds
	Member  bool   `json:"member,omitempty"`
	Revoked bool   `json:"revoked,omitempty"`
	// Replaced: the node has said that it uses a newer one. It is not refused,
	// and nobody waits for it any more.
	Replaced bool `json:"replaced,omitempty"`
	// Custody: who showed this one was handed the authority's key.
	Custody bool `json:"custody,omitempty"`

	Unknown `json:"-"`
}

// Life is which life of the cluster's own store this is: it begins another one
// when a host makes a new cluster of what it has, because the majority was lost,
// or of a backup. Data of different lives never meet in one etcd cluster.
type Life struct {
	Number int64  `json:"number"` // 0: the first
	ID     string `json:"id"`     // random, of two that two hosts began on their own; "" of the first
	Node   string `json:"node"`   // that began it
	Since  int64  `json:"since"`  // unix seconds; for people
	From   int64  `json:"from"`   // revision of the copy it began with

	Unknown `json:"-"`
}

// Is reports whether both are one life.
func (l Life) Is(other Life) bool { return l.Number == other.Number && l.ID == other.ID }

// Beats reports whether this life is the one that goes on where both are met.
// Of two with one number either may, and every host must choose the same.
func (l Life) Beats(other Life) bool {
	if l.Number != other.Number {
		return l.Number > other.Number
	}
	return l.ID > other.ID
}
