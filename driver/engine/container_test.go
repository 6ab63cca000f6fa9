package engine

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContainersTakesTheOwnName(t *testing.T) {
	s, e := serve(t, "1.41")
	s.say("GET", "/containers/json", http.StatusOK, `[
		{"Id":"c1","Names":["/front/db","/db"],"State":"running","HostConfig":{"NetworkMode":"lan1"}},
		{"Id":"c2","Names":null,"State":"removing"}
	]`)
	got, err := e.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Container{
		{ID: "c1", Name: "db", State: StateRunning, NetworkMode: "lan1"},
		{ID: "c2", State: StateRemoving},
	}
	if diff := cmp.Diff(want, got, addresses...); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
}

const inspected = `{
	"Id":"0123456789abcdef","Name":"/db",
	"State":{"Status":"exited","ExitCode":128,"Error":"no such device"},
	"HostConfig":{"NetworkMode":"lan1","RestartPolicy":{"Name":"always"},"AutoRemove":true,
		"PortBindings":{"443/tcp":[{"HostIp":"","HostPort":"8443"}],"80/tcp":[{"HostPort":""}]}},
	"Config":{"Hostname":"box","MacAddress":"02:11:22:33:44:55","ExposedPorts":{"80/tcp":{},"53/udp":{},"8080/tcp":{}}},
	"NetworkSettings":{"SandboxID":"s","SandboxKey":"/k","Networks":{
		"lan1":{"NetworkID":"n1","Aliases":["sql","0123456789ab","box"],"IPAMConfig":{"IPv4Address":"10.0.0.5","LinkLocalIPs":["169.254.1.1"]}},
		"lan2":{"NetworkID":"n2","Aliases":["sql","0123456789ab","box"]}
	}}}`

func TestContainerOfAnOldEngine(t *testing.T) {
	s, e := serve(t, "1.41")
	s.say("GET", "/containers/db/json", http.StatusOK, inspected)
	got, err := e.Container(t.Context(), "db")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"db", "sql", "0123456789ab", "box"}
	want := ContainerDetail{
		Container: Container{
			ID: "0123456789abcdef", Name: "db", State: StateExited, NetworkMode: "lan1",
			Attachments: []Attachment{
				{Network: "lan1", NetworkID: "n1", DNSNames: names, Settings: EndpointSettings{
					IPv4: netip.MustParseAddr("10.0.0.5"), LinkLocal: []netip.Addr{netip.MustParseAddr("169.254.1.1")},
					Aliases: []string{"sql"}, MAC: net.HardwareAddr{2, 0x11, 0x22, 0x33, 0x44, 0x55},
				}},
				{Network: "lan2", NetworkID: "n2", DNSNames: names, Settings: EndpointSettings{Aliases: []string{"sql"}}},
			},
		},
		Hostname:      "box",
		ExposedPorts:  []Port{{80, "tcp"}, {8080, "tcp"}, {53, "udp"}},
		Published:     []Port{{80, "tcp"}, {443, "tcp"}},
		RestartPolicy: "always",
		AutoRemove:    true,
		ExitCode:      128,
		Error:         "no such device",
		SandboxID:     "s",
		SandboxKey:    "/k",
	}
	if diff := cmp.Diff(want, got, addresses...); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
}

func TestDisconnectHidesNoFailure(t *testing.T) {
	for _, c := range []struct {
		name    string
		network string
		fails   bool
	}{
		{"attached, by id", "n1", true},
		{"attached, by name", "lan1", true},
		{"not attached", "n3", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, e := serve(t, "1.41")
			s.say("POST", "/networks/"+c.network+"/disconnect", http.StatusInternalServerError, `{"message":"broken"}`)
			s.say("GET", "/containers/db/json", http.StatusOK, inspected)
			if err := e.Disconnect(t.Context(), c.network, "db", false); (err != nil) != c.fails {
				t.Errorf("got error %v, want one: %t", err, c.fails)
			}
		})
	}
	t.Run("engine does not say", func(t *testing.T) {
		s, e := serve(t, "1.41")
		s.say("POST", "/networks/n3/disconnect", http.StatusInternalServerError, `{"message":"broken"}`)
		s.say("GET", "/containers/db/json", http.StatusServiceUnavailable, `{"message":"stopping"}`)
		if err := e.Disconnect(t.Context(), "n3", "db", false); err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("got error %v, want the first one", err)
		}
	})
}
