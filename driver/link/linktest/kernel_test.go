package linktest_test

import (
	"net/netip"
	"testing"

	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
)

func TestKernelConforms(t *testing.T) {
	linktest.Conform(t, func(t *testing.T) linktest.Host { return host(linktest.New("gvlan")) })
}

func TestKernelWithMacvlanOnlyConforms(t *testing.T) {
	linktest.Conform(t, func(t *testing.T) linktest.Host { return host(linktest.New("gvlan", link.Macvlan)) })
}

func host(k *linktest.Kernel) linktest.Host {
	return linktest.Host{
		Maker:  k,
		Looker: k,
		Other:  k.As("other"),
		Card:   func(name string) { k.Add(link.Interface{Name: name, Up: true}) },
		SetUp:  k.SetUp,
		Foreign: func(spec link.Spec) {
			k.Add(link.Interface{Name: spec.Name, Kind: string(spec.Kind), Parent: spec.Parent, VLAN: spec.VLAN})
		},
		Address: func(name, prefix string) { k.AddAddress(name, netip.MustParsePrefix(prefix)) },
	}
}
