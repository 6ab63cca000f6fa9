package authority

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// Custody is what the hosts of members keep for the cluster, and nobody else:
// the keys of its authorities and the secret that others join with.
type Custody struct {
	Authorities []*Authority `json:"-"` // the oldest first
	Secret      string       `json:"-"`
}

var (
	errCustody   = errors.New("not the custody of a cluster: want an authority and a secret")
	errOtherList = errors.New("it is not signed by an authority of the cluster")
)

// Authority finds an authority by its fingerprint.
func (c Custody) Authority(fingerprint string) (*Authority, bool) {
	for _, a := range c.Authorities {
		if a.Fingerprint() == fingerprint {
			return a, true
		}
	}
	return nil, false
}

// String leaves the secrets out.
func (c Custody) String() string { return fmt.Sprintf("custody of %v", c.Authorities) }

// GoString leaves the secrets out.
func (c Custody) GoString() string { return c.String() }

// LogValue leaves the secrets out.
func (c Custody) LogValue() slog.Value { return slog.StringValue(c.String()) }

// check says what is missing.
func (c Custody) check() error {
	if len(c.Authorities) == 0 || slices.Contains(c.Authorities, nil) || c.Secret == "" {
		return errCustody
	}
	return nil
}

// handedCustody is a custody on its way from a member to another.
type handedCustody struct {
	Authorities []string `json:"authorities"`
	Secret      string   `json:"secret"`
}

// MarshalCustody spells a custody out, for a member that it is handed to.
func MarshalCustody(c Custody) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	handed := handedCustody{Secret: c.Secret}
	for _, a := range c.Authorities {
		handed.Authorities = append(handed.Authorities, string(a.PEM()))
	}
	return json.Marshal(handed)
}

// UnmarshalCustody reads what MarshalCustody wrote. The error does not repeat
// it.
func UnmarshalCustody(raw []byte) (Custody, error) {
	var handed handedCustody
	if json.Unmarshal(raw, &handed) != nil {
		return Custody{}, errCustody // what json says may tell of the values
	}
	c := Custody{Secret: handed.Secret}
	for _, text := range handed.Authorities {
		a, err := Parse([]byte(text))
		if err != nil {
			return Custody{}, err
		}
		c.Authorities = append(c.Authorities, a)
	}
	return c, c.check()
}

// Custody reads the cluster's keys and secret; false: this host keeps none.
func (i *Identity) Custody() (Custody, bool, error) {
	i.writing.Lock()
	defer i.writing.Unlock()
	raw, err := read(i.path(authorityFile))
	if err == nil && raw == nil {
		return Custody{}, false, nil
	}
	var c Custody
	if err == nil {
		c.Authorities, err = parseAuthorities(raw)
	}
	if err != nil {
		return Custody{}, false, fmt.Errorf("read %s: %w", i.path(authorityFile), err)
	}
	secret, err := read(i.path(secretFile))
	c.Secret = strings.TrimSpace(string(secret))
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return Custody{}, false, fmt.Errorf("read %s: %w", i.path(secretFile), err)
	}
	return c, true, nil
}

// SetCustody keeps the cluster's keys and secret. A host that keeps them
// without a list of refused certificates gets an empty one: etcd takes no
// connection without.
func (i *Identity) SetCustody(c Custody) error {
	if err := c.check(); err != nil {
		return err
	}
	i.writing.Lock()
	defer i.writing.Unlock()
	var keys []byte
	for _, a := range c.Authorities {
		keys = append(keys, a.PEM()...)
	}
	list, err := read(i.path(refusedFile))
	if err == nil && list == nil {
		if list, err = c.Authorities[0].RevocationList(nil, i.now()); err == nil {
			err = write(i.path(refusedFile), list)
		}
	}
	// The keys last: a host keeps custody once they are there.
	if err == nil {
		err = write(i.path(secretFile), []byte(c.Secret+"\n"))
	}
	if err == nil {
		err = write(i.path(authorityFile), keys)
	}
	if err != nil {
		return fmt.Errorf("keep the authorities' keys: %w", err)
	}
	return nil
}

// DropCustody removes the cluster's keys and secret from this host.
func (i *Identity) DropCustody() error {
	i.writing.Lock()
	defer i.writing.Unlock()
	if err := remove(i.path(authorityFile), i.path(secretFile)); err != nil {
		return fmt.Errorf("remove the authorities' keys: %w", err)
	}
	return nil
}

// SetRevocationList keeps the list (DER) of certificates that etcd refuses on
// this host, which this identity refuses too. An authority of the cluster must
// have signed it.
func (i *Identity) SetRevocationList(der []byte) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("read the list of refused certificates: %w", err)
	}
	i.writing.Lock()
	defer i.writing.Unlock()
	if !slices.ContainsFunc(i.RootCertificates(), func(root *x509.Certificate) bool { return list.CheckSignatureFrom(root) == nil }) {
		return fmt.Errorf("take the list of refused certificates: %w", errOtherList)
	}
	if err := write(i.path(refusedFile), der); err != nil {
		return fmt.Errorf("keep the list of refused certificates: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.listed = serialsOf(list)
	i.count()
	return nil
}

// SetRefused says which certificates this identity refuses, by their serial
// numbers in hexadecimal, beside those of the list that it keeps as a member.
func (i *Identity) SetRefused(serials []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.told = slices.Clone(serials)
	i.count()
}

// Refused reports whether a certificate is refused, by its serial number in
// hexadecimal.
func (i *Identity) Refused(serial string) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.refused[number(serial)]
}

// RefusedChanged is closed when others are refused than now.
func (i *Identity) RefusedChanged() <-chan struct{} {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.changed
}

// count puts together who is refused. The caller holds mu.
func (i *Identity) count() {
	refused := map[string]bool{}
	for _, serial := range slices.Concat(i.listed, i.told) {
		refused[number(serial)] = true
	}
	if maps.Equal(refused, i.refused) {
		return
	}
	i.refused = refused
	close(i.changed)
	i.changed = make(chan struct{})
}

func serialsOf(list *x509.RevocationList) []string {
	var serials []string
	for _, entry := range list.RevokedCertificateEntries {
		serials = append(serials, entry.SerialNumber.Text(16))
	}
	return serials
}
