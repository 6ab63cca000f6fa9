package engine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// apiDNSNames is the API version from which an attachment tells the names Docker
// answers for apart from the aliases the user gave (Docker 26.0).
const apiDNSNames = "1.45"

// shortID is the length, in digits, of the id Docker itself adds as a name.
const shortID = 12

func containerFrom(c container.Summary) Container {
	var name string
	if len(c.Names) > 0 {
		// Legacy links add "/parent/alias" names; the own one has a single slash.
		own := slices.IndexFunc(c.Names, func(n string) bool { return strings.LastIndex(n, "/") == 0 })
		name = strings.TrimPrefix(c.Names[max(own, 0)], "/")
	}
	result := Container{
		ID:          c.ID,
		Name:        name,
		State:       ContainerState(c.State),
		Labels:      c.Labels,
		NetworkMode: c.HostConfig.NetworkMode,
	}
	if c.NetworkSettings != nil {
		result.Attachments = attachmentsFrom(c.NetworkSettings.Networks)
	}
	return result
}

func attachmentsFrom(networks map[string]*api.EndpointSettings) []Attachment {
	var list []Attachment
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if ep := networks[name]; ep != nil {
			list = append(list, attachmentFrom(name, ep))
		}
	}
	return list
}

func attachmentFrom(network string, ep *api.EndpointSettings) Attachment {
	a := Attachment{
		Network:    network,
		NetworkID:  ep.NetworkID,
		EndpointID: ep.EndpointID,
		Settings: EndpointSettings{
			Aliases: ep.Aliases, Links: ep.Links, DriverOpts: ep.DriverOpts, GwPriority: ep.GwPriority,
		},
		DNSNames: ep.DNSNames,
		IPv4:     actual(ep.IPAddress, ep.IPPrefixLen),
		IPv6:     actual(ep.GlobalIPv6Address, ep.GlobalIPv6PrefixLen),
		Gateway4: ep.Gateway,
		Gateway6: ep.IPv6Gateway,
		MAC:      net.HardwareAddr(ep.MacAddress),
	}
	if given := ep.IPAMConfig; given != nil {
		a.Settings.IPv4 = given.IPv4Address
		a.Settings.IPv6 = given.IPv6Address
		a.Settings.LinkLocal = given.LinkLocalIPs
	}
	return a
}

func actual(addr netip.Addr, length int) netip.Prefix {
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, length)
}

func detailFrom(answer client.ContainerInspectResult, s *session) (ContainerDetail, error) {
	c := answer.Container
	detail := ContainerDetail{Container: Container{ID: c.ID, Name: strings.TrimPrefix(c.Name, "/")}}
	if c.State != nil {
		detail.State = ContainerState(c.State.Status)
		detail.PID, detail.ExitCode, detail.Error = c.State.Pid, c.State.ExitCode, c.State.Error
		if h := c.State.Health; h != nil && h.Status != container.NoHealthcheck {
			detail.Health = Health(h.Status)
		}
	}
	if c.HostConfig != nil {
		detail.NetworkMode = string(c.HostConfig.NetworkMode)
		detail.RestartPolicy = string(c.HostConfig.RestartPolicy.Name)
		detail.AutoRemove = c.HostConfig.AutoRemove
	}
	if c.Config != nil {
		detail.Labels = c.Config.Labels
		detail.Hostname, detail.Domainname = c.Config.Hostname, c.Config.Domainname
		detail.StopSignal = c.Config.StopSignal
		detail.ExposedPorts = portsFrom(c.Config.ExposedPorts)
	}
	if c.NetworkSettings != nil {
		detail.SandboxID, detail.SandboxKey = c.NetworkSettings.SandboxID, c.NetworkSettings.SandboxKey
		detail.Attachments = attachmentsFrom(c.NetworkSettings.Networks)
	}
	mac, err := containerMAC(answer.Raw)
	for i := range detail.Attachments {
		a := &detail.Attachments[i]
		if a.Network == detail.NetworkMode || a.NetworkID == detail.NetworkMode {
			a.Settings.MAC = mac
		}
		if s.below(apiDNSNames) {
			splitNames(a, detail)
		}
	}
	return detail, err
}

// splitNames gives an attachment of an older engine the form of newer ones: there
// Aliases also holds what Docker added, the short id and the hostname, and DNSNames
// does not exist.
func splitNames(a *Attachment, c ContainerDetail) {
	short := c.ID[:min(shortID, len(c.ID))]
	given := slices.DeleteFunc(slices.Clone(a.Settings.Aliases), func(name string) bool {
		return name == short || name == c.Hostname
	})
	a.DNSNames = []string{c.Name}
	for _, name := range append(slices.Clone(given), short, c.Hostname) {
		if name != "" && !slices.Contains(a.DNSNames, name) {
			a.DNSNames = append(a.DNSNames, name)
		}
	}
	a.Settings.Aliases = given
}

// containerMAC reads --mac-address from an inspect answer: one per container, which
// the engine gives to the network of NetworkMode. The client's types lost the field
// with API 1.52; engines that know it still have and need it.
func containerMAC(raw json.RawMessage) (net.HardwareAddr, error) {
	var answer struct {
		Config struct{ MacAddress string }
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	return macFrom(answer.Config.MacAddress), nil
}

func portsFrom(set api.PortSet) []Port {
	var ports []Port
	for p := range set {
		ports = append(ports, Port{Number: p.Num(), Protocol: string(p.Proto())})
	}
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	})
	return ports
}
