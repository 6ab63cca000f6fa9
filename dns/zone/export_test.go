package zone

// Snapshot lets tests keep a published picture.
type Snapshot = snapshot

// Snapshot returns the picture of now.
func (z *Zone) Snapshot() *Snapshot { return z.now() }

// Holders returns who stands for a folded name, as address@network.
func (s *snapshot) Holders(scope Scope, name string) (holders []string) {
	for _, m := range s.lookup(scope, []byte(name)).members {
		holders = append(holders, m.v4.String()+"@"+m.network)
	}
	return holders
}

// Direct answers a packet without the library, or returns false.
func (z *Zone) Direct(dst, packet []byte, by Asker, bare bool) ([]byte, bool) {
	return z.direct(dst, packet, by, bare)
}

// Serial is the serial number of the SOA.
func (z *Zone) Serial() uint32 { return z.now().serial }
