package authority_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gvlan/cluster/store/authority"
)

func TestCustodyIsKept(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	i := c.openAt(dir, "host")
	c.join(i, "host")
	older, newer := c.authority, newAuthority(t)
	want := authority.Custody{Authorities: []*authority.Authority{older, newer}, Secret: authority.NewSecret()}
	must(t, i.SetCustody(want))
	for _, from := range []*authority.Identity{i, c.openAt(dir, "host")} {
		got, kept, err := from.Custody()
		if err != nil || !kept || got.Secret != want.Secret || !slices.EqualFunc(got.Authorities, want.Authorities, same) {
			t.Fatalf("%v, %v, %v", got, kept, err)
		}
		if a, ok := got.Authority(newer.Fingerprint()); !ok || !same(a, newer) {
			t.Fatalf("authority %s: %v, %v", newer.Fingerprint(), a, ok)
		}
		if _, ok := got.Authority(newAuthority(t).Fingerprint()); ok {
			t.Fatal("an authority that it does not hold")
		}
	}
	must(t, i.DropCustody())
	if _, kept, err := i.Custody(); kept || err != nil {
		t.Fatalf("after it was dropped: %v, %v", kept, err)
	}
	for _, file := range []string{"authority.pem", "secret"} {
		if _, err := os.Stat(filepath.Join(dir, file)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", file, err)
		}
	}
	must(t, i.DropCustody()) // again
}

func same(a, b *authority.Authority) bool { return bytes.Equal(a.PEM(), b.PEM()) }

func TestCustodyIsHandedOver(t *testing.T) {
	want := authority.Custody{Authorities: []*authority.Authority{newAuthority(t), newAuthority(t)}, Secret: authority.NewSecret()}
	raw, err := authority.MarshalCustody(want)
	must(t, err)
	got, err := authority.UnmarshalCustody(raw)
	if err != nil || got.Secret != want.Secret || !slices.EqualFunc(got.Authorities, want.Authorities, same) {
		t.Fatalf("%v, %v", got, err)
	}
}

func TestCustodyOfNothing(t *testing.T) {
	c := newCluster(t)
	i := c.node("host")
	a := newAuthority(t)
	for name, custody := range map[string]authority.Custody{
		"nothing":      {},
		"no secret":    {Authorities: []*authority.Authority{a}},
		"no authority": {Secret: "secret"},
		"nil":          {Authorities: []*authority.Authority{a, nil}, Secret: "secret"},
	} {
		if i.SetCustody(custody) == nil {
			t.Errorf("%s: kept", name)
		}
		if _, err := authority.MarshalCustody(custody); err == nil {
			t.Errorf("%s: handed over", name)
		}
	}
	for _, text := range []string{
		"", "{}", `{"secret":"precious-secret"}`, `{"secret":"precious-secret","authorities":["precious-secret"]}`,
		`{"secret":["precious-secret"],"authorities":[]}`, `{"precious-secret"`, `{"secret":12345678901234567890}`,
	} {
		_, err := authority.UnmarshalCustody([]byte(text))
		if err == nil {
			t.Errorf("%s: taken", text)
		} else if strings.Contains(err.Error(), "precious") || strings.Contains(err.Error(), "123") {
			t.Errorf("%s: repeated: %v", text, err)
		}
	}
}

// A death while custody is written leaves none, or one that is whole.
func TestHalfACustody(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	i := c.openAt(dir, "host")
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("secret\n"), 0o600))
	if _, kept, err := i.Custody(); kept || err != nil {
		t.Errorf("a secret alone: %v, %v", kept, err)
	}
	must(t, os.Remove(filepath.Join(dir, "secret")))
	must(t, os.WriteFile(filepath.Join(dir, "authority.pem"), c.authority.PEM(), 0o600))
	if _, kept, err := i.Custody(); kept || err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "secret")) {
		t.Errorf("keys alone: %v, %v", kept, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "authority.pem"), c.authority.PEM()[:90], 0o600))
	if _, kept, err := i.Custody(); kept || err == nil || !strings.Contains(err.Error(), "authority.pem") || repeats(err.Error(), string(c.authority.PEM()[28:90])) {
		t.Errorf("half a key: %v, %v", kept, err)
	}
}

func TestRefusedSerialNumbers(t *testing.T) {
	c := newCluster(t)
	i := c.member("host")
	cert := c.node("other").Certificate()
	serial := authority.Serial(cert)
	changed := i.RefusedChanged()
	i.SetRefused(nil)
	if isClosed(changed) {
		t.Fatal("a change where there is none")
	}
	i.SetRefused([]string{serial})
	if !isClosed(changed) || !i.Refused(serial) || !i.Refused(strings.ToUpper(serial)) || i.Refused("1"+serial) {
		t.Fatal("it was not told")
	}
	changed = i.RefusedChanged()
	i.SetRefused([]string{serial})
	if isClosed(changed) {
		t.Fatal("a change where there is none")
	}
	list, err := c.authority.RevocationList([]string{"0b"}, start)
	must(t, err)
	must(t, i.SetRevocationList(list))
	if !isClosed(changed) || !i.Refused(serial) || !i.Refused("b") || !i.Refused("0B") {
		t.Fatal("both are refused, those of the list and those that it was told")
	}
	foreign, err := newAuthority(t).RevocationList([]string{"c"}, start)
	must(t, err)
	for name, der := range map[string][]byte{"another authority's": foreign, "nothing": nil, "half": list[:len(list)/2]} {
		if i.SetRevocationList(der) == nil || i.Refused("c") || !i.Refused("b") {
			t.Errorf("%s: taken", name)
		}
	}
	i.SetRefused(nil)
	if i.Refused(serial) || !i.Refused("b") {
		t.Fatal("the list holds by itself")
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
