package doctor

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"gvlan/driver/engine"
)

// oldest is the first release of Docker that gvlan is tested on.
const oldest = "20.10"

// limits are what engines before a release cannot do on gvlan's networks; users
// of newer ones find it out by trying.
var limits = []struct{ since, what string }{
	{"28.0", "networks without IPv4"},
	{"29.0", "certainty that a container started again keeps its address"},
	{"29.8", "interface names (com.docker.network.endpoint.ifname)"},
}

// checkEngine looks at the engine itself.
func checkEngine(_ context.Context, f *facts) (string, []Finding, error) {
	if err := f.info.err; err != nil {
		return "", []Finding{{
			Severity: Fault,
			What:     "the Docker engine does not answer: " + err.Error(),
			Why:      "no container starts or stops, and what is said of networks and containers below is left out",
			Cure:     "systemctl status docker; journalctl -u docker -n 50",
		}}, nil
	}
	info := f.info.value
	saw := []string{"Docker " + info.Version}
	var without []string
	for _, l := range limits {
		if before(info.Version, l.since) {
			without = append(without, l.what)
		}
	}
	if len(without) > 0 {
		saw = append(saw, "no "+strings.Join(without, ", no "))
	}
	var found []Finding
	if before(info.Version, oldest) {
		found = append(found, Finding{
			Severity: Fault,
			What:     fmt.Sprintf("Docker %s is older than any gvlan was tested on (%s)", info.Version, oldest),
			Why:      "it asks its drivers otherwise than newer ones",
			Cure:     "upgrade docker",
		})
	}
	if info.LiveRestore {
		saw = append(saw, "live-restore on")
		found = append(found, judgeLiveRestore(f, info)...)
	} else {
		saw = append(saw, "live-restore off: a restart of dockerd restarts containers")
	}
	return strings.Join(saw, "; "), found, nil
}

// liveRestore: Docker 29 forgets the endpoints of plugins over a restart, and
// then cannot give such a container another gateway.
func judgeLiveRestore(f *facts, info engine.Info) []Finding {
	if before(info.Version, "29.0") || !slices.ContainsFunc(f.containers.value, func(c engine.ContainerDetail) bool {
		return c.State == engine.StateRunning && c.NetworkMode != hostMode
	}) {
		return nil
	}
	return []Finding{{
		Severity: Hint,
		What:     "live-restore is on, on Docker " + info.Version,
		Why:      "containers that went on over a restart of dockerd cannot be connected to one more network with a gateway, and their stop logs a warning",
		Cure:     "start such a container anew before docker network connect; or \"live-restore\": false in /etc/docker/daemon.json",
	}}
}

// before compares releases by their first two numbers.
func before(version, than string) bool {
	major, minor := release(version)
	wantMajor, wantMinor := release(than)
	return major != 0 && cmp.Or(cmp.Compare(major, wantMajor), cmp.Compare(minor, wantMinor)) < 0
}

func release(version string) (major, minor int) {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	major, err := strconv.Atoi(first)
	if err != nil {
		return 0, 0 // a build of somebody's own
	}
	minor, _ = strconv.Atoi(second)
	return major, minor
}

// checkPlugin looks at how Docker finds gvlan, and at what it may take for it.
func checkPlugin(_ context.Context, f *facts) (string, []Finding, error) {
	var found []Finding
	mode := "socket plugin " + f.Config.DriverName
	if f.Config.Swarm {
		mode = "managed plugin " + f.Config.DriverName
	} else {
		found = pluginSocket(f)
	}
	if f.plugins.err != nil {
		return mode, found, f.plugins.err
	}
	for _, name := range f.plugins.value {
		if bare := strings.TrimSuffix(name, ":latest"); !f.Config.Swarm && bare == f.Config.DriverName {
			found = append(found, Finding{
				Severity: Fault,
				What:     fmt.Sprintf("a managed plugin is called %s, as this host's agent is", name),
				Why:      "Docker finds it in place of the agent: networks made with -d " + f.Config.DriverName + " are its, with other addresses",
				Cure:     fmt.Sprintf("docker plugin disable -f %s && docker plugin rm %s, and make it again as gvlan-swarm:latest (make plugin)", name, name),
			})
		}
	}
	if f.all.err != nil {
		return mode, found, f.all.err
	}
	gone := map[string][]string{}
	for _, n := range f.all.value {
		if !strings.HasPrefix(n.Driver, "gvlan") || n.Driver == f.Config.DriverName || !strings.Contains(n.Driver, ":") || slices.Contains(f.info.value.NetworkPlugins, n.Driver) {
			continue
		}
		gone[n.Driver] = append(gone[n.Driver], n.Name)
	}
	for driver, networks := range gone {
		slices.Sort(networks)
		cure := "docker plugin enable " + driver
		if !slices.Contains(f.plugins.value, driver) {
			cure = "docker plugin create, set and enable, as README's quick start for swarm says"
		}
		found = append(found, Finding{
			Severity: Fault,
			What:     fmt.Sprintf("the managed plugin %s is not enabled on this node, and network %s needs it", driver, list(networks)),
			Why:      "tasks on that network stay pending or fail here",
			Cure:     cure,
		})
	}
	return mode, found, nil
}

// pluginSocket: Docker finds a plugin by its socket, and else by a file that
// says where it is.
func pluginSocket(f *facts) []Finding {
	path := f.Config.PluginSocketDir + "/" + f.Config.PluginSocket() + ".sock"
	answers := f.Answers(path)
	var found []Finding
	_, err := fs.Stat(f.Files, strings.TrimPrefix(path, "/"))
	switch {
	case f.status.err == nil && !answers:
		found = append(found, Finding{
			Severity: Fault,
			What:     "the agent runs, and Docker does not find it: nobody answers at " + path,
			Why:      "networks and containers of gvlan's fail with \"plugin not found\"",
			Cure:     "systemctl restart gvlan",
		})
	case f.status.err != nil && err == nil && !answers:
		found = append(found, Finding{
			Severity: Fault,
			What:     "a socket of an agent that is gone is left at " + path,
			Why:      "each call of Docker's to it waits 15 seconds: stops, starts and the boot of dockerd",
			Cure:     "systemctl start gvlan, which replaces it; or rm " + path + " if gvlan is not to run here any more",
		})
	}
	for _, folder := range []string{"/etc/docker/plugins", "/usr/lib/docker/plugins"} {
		for _, ending := range []string{".spec", ".json"} {
			file := folder + "/" + f.Config.DriverName + ending
			if _, err := fs.Stat(f.Files, strings.TrimPrefix(file, "/")); err == nil {
				found = append(found, Finding{
					Severity: Hint,
					What:     file + " says where a plugin called " + f.Config.DriverName + " is",
					Why:      "Docker goes there whenever the agent's socket is not there",
					Cure:     "rm " + file,
				})
			}
		}
	}
	return found
}

// checkServices finds services with a virtual address, which nobody answers on
// networks like these.
func checkServices(_ context.Context, f *facts) (string, []Finding, error) {
	if f.services.err != nil {
		return "", nil, f.services.err
	}
	if f.all.err != nil {
		return "", nil, f.all.err
	}
	ours := map[string]string{} // by id and name
	for _, n := range f.all.value {
		if f.isOurs(n.Driver) {
			ours[n.ID], ours[n.Name] = n.Name, n.Name
		}
	}
	var found []Finding
	count := 0
	for _, s := range f.services.value {
		asks := slices.ContainsFunc(s.Networks, func(n engine.ServiceNetwork) bool { return ours[n.Network] != "" })
		on := ""
		for _, v := range s.VIPs {
			on = cmp.Or(on, ours[v.NetworkID])
		}
		if asks || on != "" {
			count++
		}
		if on != "" { // its mode is not told where it is the default, nor always where it is not
			found = append(found, Finding{
				Severity: Fault,
				What:     fmt.Sprintf("service %s has a virtual address on network %s", s.Name, on),
				Why:      "its name leads to that address, and nobody answers it: swarm serves it on overlays only",
				Cure:     "docker service update --endpoint-mode dnsrr " + s.Name,
			})
		}
	}
	return fmt.Sprintf("services on gvlan's networks: %d", count), found, nil
}

// checkPublished finds containers whose published ports lead nowhere.
func checkPublished(_ context.Context, f *facts) (string, []Finding, error) {
	if f.containers.err != nil {
		return "", nil, f.containers.err
	}
	var found []Finding
	count := 0
	for _, c := range f.containers.value {
		if c.NetworkMode == hostMode {
			continue
		}
		count++
		elsewhere := slices.ContainsFunc(c.Attachments, func(a engine.Attachment) bool { return !f.named(a.Network) })
		if len(c.Published) == 0 || elsewhere {
			continue
		}
		var ports []string
		for _, p := range c.Published {
			ports = append(ports, fmt.Sprintf("%d/%s", p.Number, p.Protocol))
		}
		found = append(found, Finding{
			Severity: Hint,
			What:     fmt.Sprintf("container %s publishes %s, and is on gvlan's networks only", c.Name, list(ports)),
			Why:      "that has no effect: nothing listens on this host's address for it. The container is on the LAN with all its ports",
			Cure:     "ask the container's own address (gvlan whois " + c.Name + "), and make it without -p",
		})
	}
	return fmt.Sprintf("containers on gvlan's networks: %d", count), found, nil
}
