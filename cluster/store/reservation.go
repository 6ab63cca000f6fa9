package store

// Reservation is an address that an operator keeps back: for the container of a
// name, wherever it runs, or for nobody of gvlan's. It is his word, so nothing but
// his word or the end of the network takes it away; whoever has the address by
// then has it on.
type Reservation struct {
	Network string `json:"network"`       // uuid of the definition that it was made on
	Name    string `json:"name"`          // of that network
	For     string `json:"for,omitempty"` // name of the container that is given it; "": none is
	MAC     string `json:"mac,omitempty"` // that goes with it; "": the one that follows from the address
	Note    string `json:"note,omitempty"`
	Node    string `json:"node"`  // that it was made on
	Since   int64  `json:"since"` // unix seconds

	Unknown `json:"-"`
}
