package main

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAdvertised(t *testing.T) {
	tests := []struct {
		name    string
		config  Config
		want    string
		wantErr string
	}{
		{name: "address", config: Config{Advertise: "192.0.2.7"}, want: "192.0.2.7"},
		{name: "IPv6 address", config: Config{Advertise: "2001:db8::7"}, want: "2001:db8::7"},
		{name: "towards etcd", config: Config{Etcd: EtcdConfig{Endpoints: []string{"http://127.0.0.9:2379"}}}, want: "127.0.0.1"},
		{name: "towards the host it joins", config: Config{Join: JoinConfig{Address: "[::1]:2379"}}, want: "::1"},
		{name: "where it listens", config: Config{Etcd: EtcdConfig{Listen: "127.0.0.3:2379"}}, want: "127.0.0.3"},
		{name: "interface without a usable address", config: Config{Advertise: "lo"}, wantErr: "has no address others could use"},
		{name: "no such interface", config: Config{Advertise: "gvlan-none0"}, wantErr: "this host has no such interface"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := advertised(test.config)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error is %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != netip.MustParseAddr(test.want) {
				t.Errorf("advertised %s, want %s", got, test.want)
			}
		})
	}
}
