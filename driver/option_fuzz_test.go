package driver

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"gvlan/driver/link"
	"gvlan/parentfile"
)

// FuzzParseOptions: any map of options is refused in one plain line, or gives
// options that the kernel's links can be made of.
func FuzzParseOptions(f *testing.F) {
	for _, seed := range []string{
		"",
		"parent=bond0,  eth0,  eth1",
		"parent=eth0.65\nmacvlan_mode=bridge",
		"host_iface=eth0:10\n--macvlan_mode=vepa",
		"parent=default-route.65,en*,!docker*,subnet:fd00::/64,@host\nipvlan_mode=l3s\nipvlan_flag=private",
		"parent-file=/root/net1.toml\nkind=ipvlan\nmtu=9000\nscope=local\ngateway=none\ndns=off",
		"=bond0.65,eth3.65",
		"parent=,\ncom.docker.network.driver.mtu=1500\nRequestAddressType=x",
		"macvlan_mode=passthru\nipvlan_mode=l2",
		"mtu=67\nkind=bridge",
		"parent-file=a\rb",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		raw := map[string]string{}
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			raw[key] = value
		}
		o, err := ParseOptions(raw)
		if err != nil {
			refusedPlainly(t, o, err)
			return
		}
		spec := link.Spec{Name: "gv1", Kind: o.Kind, Mode: o.Mode, Flag: o.Flag, Parent: "eth0", MTU: o.MTU}
		if err := spec.Check(); err != nil {
			t.Errorf("%q gives %+v: %v", raw, o, err)
		}
		if list, err := parentfile.Parse(o.Parent); err != nil || list.Empty() != (o.Parent == "") {
			t.Errorf("%q gives parent %q: %v, %v", raw, o.Parent, list, err)
		}
		if again, err := ParseOptions(raw); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%q gives %+v, then %+v, %v", raw, o, again, err)
		}
	})
}

func refusedPlainly(t *testing.T, o Options, err error) {
	t.Helper()
	if !errors.Is(err, ErrOption) || !reflect.DeepEqual(o, Options{}) {
		t.Errorf("options %+v with error %v, want none and ErrOption", o, err)
	}
	if strings.ContainsAny(err.Error(), "\n\r\x00") {
		t.Errorf("refused in more than one plain line: %q", err)
	}
}
