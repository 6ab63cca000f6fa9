package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"gvlan/cmd/internal/doctor/firewall"
	"gvlan/driver/link"
)

// features are what gvlan asks of a kernel, with the module that has it.
var features = []struct {
	kind   link.Kind
	called string
	module string
}{
	{link.Macvlan, "macvlan", "macvlan"},
	{link.Ipvlan, "ipvlan", "ipvlan"},
	{link.VLAN, "VLANs", "8021q"},
	{link.Dummy, "dummy", "dummy"},
}

// checkKernel asks for every kind of link. What no network here needs is only
// said: most kernels lack one.
func checkKernel(ctx context.Context, f *facts) (string, []Finding, error) {
	networks, err := f.networks()
	if err != nil {
		networks = nil // macvlan, which is the default, is asked for all the same
	}
	var has, lacks []string
	var found []Finding
	for _, feature := range features {
		if f.Kernel.Supports(ctx, feature.kind) == nil {
			has = append(has, feature.called)
			continue
		}
		lacks = append(lacks, feature.called)
		users := needing(f, networks, feature.kind)
		switch {
		case len(users) > 0:
			found = append(found, Finding{
				Severity: Fault,
				What:     fmt.Sprintf("this kernel has no %s, which network %s needs", feature.called, namesOf(users)),
				Why:      "no container of that network can start on this host",
				Cure:     "modprobe " + feature.module + " (on Ubuntu in linux-modules-extra-$(uname -r)), or another kernel",
			})
		case feature.kind == link.Macvlan:
			found = append(found, Finding{
				Severity: Fault,
				What:     "this kernel has no macvlan",
				Why:      "networks of gvlan's default kind cannot be made on this host",
				Cure:     "modprobe macvlan (on Ubuntu in linux-modules-extra-$(uname -r)), or -o kind=ipvlan",
			})
		}
	}
	found = append(found, kernelForNames(f, &has, &lacks)...)
	if _, err := fs.Stat(f.Files, "proc/self/ns/net"); err != nil || f.read("proc/sys/user/max_net_namespaces") == "0" {
		lacks = append(lacks, "namespaces")
		found = append(found, Finding{
			Severity: Fault,
			What:     "this kernel makes no network namespaces",
			Why:      "a container has its link in one",
			Cure:     "sysctl -w user.max_net_namespaces=65536, or a kernel with CONFIG_NET_NS",
		})
	} else {
		has = append(has, "namespaces")
	}
	saw := strings.Join(has, ", ")
	if len(lacks) > 0 {
		saw += "; no " + strings.Join(lacks, ", no ")
	}
	return saw, found, nil
}

// kernelForNames: questions in containers are led to gvlan by nftables.
func kernelForNames(f *facts, has, lacks *[]string) []Finding {
	if !errors.Is(f.firewall.err, firewall.ErrUnsupported) {
		*has = append(*has, "nftables")
		return nil
	}
	*lacks = append(*lacks, "nftables")
	if !f.Config.DNS.On {
		return nil
	}
	return []Finding{{
		Severity: Fault,
		What:     "this kernel has no nftables",
		Why:      "containers here get no names of containers on other hosts",
		Cure:     "modprobe -a nf_tables nft_ct, or a kernel with CONFIG_NF_TABLES; --dns off if names are not wanted",
	}}
}

// needing are the networks whose containers need that kind of link.
func needing(f *facts, networks []network, kind link.Kind) []network {
	return slices.DeleteFunc(slices.Clone(networks), func(n network) bool {
		switch kind {
		case link.VLAN:
			_, there := f.link(n.parent)
			return there || !strings.Contains(n.parent, ".") // a VLAN link that is there was made by this kernel
		case link.Dummy:
			return !n.isolated()
		}
		return n.options.Kind != kind
	})
}
