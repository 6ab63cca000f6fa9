package authority_test

import (
	"testing"
	"time"

	"gvlan/cluster/store/authority"
)

// FuzzParsers: what another host or a damaged file holds is read, or is an error;
// what was read is written so that it reads alike.
func FuzzParsers(f *testing.F) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	one, err := authority.New(now)
	if err != nil {
		f.Fatal(err)
	}
	id, err := authority.OpenIdentity(f.TempDir(), "a", func() time.Time { return now })
	if err != nil {
		f.Fatal(err)
	}
	csr, err := id.Request(false)
	if err != nil {
		f.Fatal(err)
	}
	handed, err := authority.MarshalCustody(authority.Custody{Authorities: []*authority.Authority{one}, Secret: authority.NewSecret()})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{nil, one.PEM(), authority.CertificatePEM(one.Root()), csr, handed, []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if roots, err := authority.ParseRoots(raw); err == nil {
			if again, err := authority.ParseRoots(authority.CertificatePEM(roots...)); err != nil || len(again) != len(roots) {
				t.Errorf("%d roots are read again as %d: %v", len(roots), len(again), err)
			}
		}
		if read, err := authority.Parse(raw); err == nil {
			if again, err := authority.Parse(read.PEM()); err != nil || !same(again, read) {
				t.Errorf("an authority is read again with %v", err)
			}
		}
		if read, err := authority.UnmarshalCustody(raw); err == nil {
			if _, err := authority.MarshalCustody(read); err != nil {
				t.Errorf("a custody cannot be handed on: %v", err)
			}
		}
		cert, err := one.Sign(raw, authority.Subject{Node: "a"}, now)
		if err == nil && (cert.IsCA || len(cert.DNSNames)+len(cert.IPAddresses) > 0 || cert.Subject.CommonName != "a") {
			t.Errorf("a request is signed as %+v", cert)
		}
	})
}
