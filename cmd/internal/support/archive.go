package support

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/doctor"
	"gvlan/driver/engine"
)

// Agent answers the routes of package api; *api.Client is one.
type Agent interface {
	Get(ctx context.Context, route string, value any) error
}

// Engine is the host's Docker engine; *engine.Engine is one.
type Engine interface {
	Info(ctx context.Context) (engine.Info, error)
	ManagedPlugins(ctx context.Context) ([]string, error)
	Networks(ctx context.Context, driver string) ([]engine.Network, error)
	Containers(ctx context.Context) ([]engine.Container, error)
}

// Host is what an archive is made of.
type Host struct {
	Name     string
	Version  string        // of the command
	Settings config.Config // in effect
	Secrets  []string      // that must not be in it, beside what looks like one
	Agent    Agent
	Engine   Engine
	Examine  func(context.Context) doctor.Report
	// Run runs a program and returns what it prints.
	Run     func(ctx context.Context, program string, args ...string) ([]byte, error)
	Files   fs.FS // from the root
	Now     func() time.Time
	Largest int // bytes of one part, of which the end is kept where it has more; 0: 16 MiB
}

// Bounds of one part.
const (
	patience = 30 * time.Second
	largest  = 16 << 20 // bytes
	logLines = "10000"
	events   = 5000
)

// part is one file of the archive.
type part struct {
	name string
	// named is what the fields "name" are names of, where the part is JSON.
	named kind
	make  func(context.Context, Host) ([]byte, error)
}

// parts are all of them.
func parts() []part {
	all := []part{
		{"doctor.json", "", func(ctx context.Context, h Host) ([]byte, error) { return asJSON(h.Examine(ctx)) }},
		{"settings.txt", "", settings},
		{"versions.txt", "", versions},
		{"docker/networks.json", network, dockerNetworks},
		{"logs/gvlan.log", "", program("journalctl", "-u", "gvlan", "-n", logLines, "-o", "short-iso", "--no-hostname", "--no-pager", "-q")},
		{"logs/docker.log", "", dockersLog},
		{"host/links.json", "", program("ip", "-d", "-j", "link", "show")},
		{"host/addresses.json", "", program("ip", "-j", "address", "show")},
		{"host/routes.json", "", program("ip", "-j", "route", "show", "table", "all")},
		{"host/routes6.json", "", program("ip", "-6", "-j", "route", "show", "table", "all")},
		{"host/rules.json", "", program("ip", "-j", "rule", "show")},
		{"host/firewall.txt", "", program("nft", "list", "ruleset")},
	}
	for _, asked := range []struct {
		name  string
		route string
		named kind
	}{
		{"status", api.StatusRoute, network},
		{"nodes", api.NodesRoute, ""}, // names of interfaces
		{"members", api.MembersRoute, host},
		{"networks", api.NetworksRoute, network},
		{"store", api.StoreRoute, host},
		{"store-reads", api.StoreReadsRoute, ""},
		{"authority", api.CAStateRoute, host},
		{"names", api.NamesRoute, container},
		{"name-counts", api.CountsRoute, domain},
		{"name-doubts", api.DoubtsRoute, ""},
		{"audit", api.AuditRoute, ""},
		{"events", api.EventsWanted{Limit: events}.At(api.EventsRoute), ""},
	} {
		all = append(all, part{"agent/" + asked.name + ".json", asked.named, fromAgent(asked.route)})
	}
	return all
}

// Write makes the archive, with pseudonyms for names where redact is set.
func Write(ctx context.Context, to io.Writer, h Host, redact bool) error {
	all := parts()
	made := make([]file, len(all))
	var making sync.WaitGroup
	for i, p := range all {
		making.Go(func() { made[i] = produce(ctx, h, p) })
	}
	making.Wait()
	known := names{}
	for i, f := range made {
		if strings.HasSuffix(f.name, ".json") {
			known.inJSON(f.text, all[i].named)
		}
		known.inText(string(f.text))
	}
	known.ofHost(ctx, h)
	hide, replace := newSecrets(h.Secrets).hide, func(text string) string { return text }
	if redact {
		replace = known.pseudonyms().replace
	}
	// Nothing is cut before: of what is left of a secret or of a document neither
	// could be told.
	scrub := func(text string) string { return replace(hide(text)) }
	packed := gzip.NewWriter(to)
	archive := tar.NewWriter(packed)
	for _, f := range append([]file{readme(h, redact)}, made...) {
		text := []byte(ended(scrub(string(f.text)), cmp.Or(h.Largest, largest)))
		header := &tar.Header{Name: "gvlan-support/" + f.name, Mode: 0o600, Size: int64(len(text)), ModTime: h.Now(), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("write %s to the archive: %w", f.name, err)
		}
		if _, err := archive.Write(text); err != nil {
			return fmt.Errorf("write %s to the archive: %w", f.name, err)
		}
	}
	if err := errors.Join(archive.Close(), packed.Close()); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	return nil
}

// file is a part that was made.
type file struct {
	name string
	text []byte
}

// produce makes one part in its time, or says why it could not.
func produce(ctx context.Context, h Host, p part) file {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	raw, err := p.make(ctx, h)
	if err != nil {
		return file{p.name + ".missing.txt", fmt.Appendf(nil, "this part could not be made: %v\n", err)}
	}
	return file{p.name, raw}
}

// ended is a text, of which the end is kept where it is too long.
func ended(text string, most int) string {
	cut := len(text) - most
	if cut <= 0 {
		return text
	}
	if line := strings.IndexByte(text[cut:], '\n'); line >= 0 {
		cut += line + 1 // a word that was cut would be nobody's name
	}
	return fmt.Sprintf("(%d bytes before this are left out)\n", cut) + text[cut:]
}

func readme(h Host, redact bool) file {
	names := "Names of containers, hosts, networks and domains are in it, and addresses."
	if redact {
		names = "Names of containers, hosts, networks and domains are replaced: container-1 is the same one throughout. Addresses are in it."
	}
	return file{"README.txt", fmt.Appendf(nil, "What gvlan %s packed on %s for a bug report.\n%s Secrets are not.\n"+
		"NAME.missing.txt says why a part could not be made. doctor.json is the place to begin.\n",
		h.Version, h.Now().UTC().Format(time.RFC3339), names)}
}

func asJSON(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(value)
	return out.Bytes(), err
}

// fromAgent is the answer of a route, as it is.
func fromAgent(route string) func(context.Context, Host) ([]byte, error) {
	return func(ctx context.Context, h Host) ([]byte, error) {
		var answer json.RawMessage
		if err := h.Agent.Get(ctx, route, &answer); err != nil {
			return nil, err
		}
		var out bytes.Buffer
		if err := json.Indent(&out, answer, "", "  "); err != nil {
			return nil, fmt.Errorf("read the agent's answer: %w", err)
		}
		return out.Bytes(), nil
	}
}

// program is what a program prints.
func program(name string, args ...string) func(context.Context, Host) ([]byte, error) {
	return func(ctx context.Context, h Host) ([]byte, error) { return h.Run(ctx, name, args...) }
}

// dockersLog is what dockerd's log has of plugins: a managed one has no other.
func dockersLog(ctx context.Context, h Host) ([]byte, error) {
	raw, err := h.Run(ctx, "journalctl", "-u", "docker", "-n", logLines, "-o", "short-iso", "--no-hostname", "--no-pager", "-q")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "gvlan") || strings.Contains(line, "plugin") {
			out.WriteString(line)
		}
	}
	return out.Bytes(), nil
}

// settings are those in effect, as config check shows them.
func settings(_ context.Context, h Host) ([]byte, error) {
	var out bytes.Buffer
	for _, s := range config.Show(h.Settings) {
		fmt.Fprintf(&out, "%-24s %s\n", s.Name, s.Value)
	}
	return out.Bytes(), nil
}

// versions are of everything below gvlan.
func versions(ctx context.Context, h Host) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "this command: gvlan %s\n", h.Version)
	var status api.Status
	if err := h.Agent.Get(ctx, api.StatusRoute, &status); err != nil {
		fmt.Fprintf(&out, "agent: %v\n", err)
	} else {
		fmt.Fprintf(&out, "agent: gvlan %s, since %s\n", status.Version, status.Started.UTC().Format(time.RFC3339))
	}
	if info, err := h.Engine.Info(ctx); err != nil {
		fmt.Fprintf(&out, "docker: %v\n", err)
	} else {
		fmt.Fprintf(&out, "docker: %s (API %s), live-restore %t, swarm %s\n", info.Version, info.APIVersion, info.LiveRestore, info.Swarm.State)
	}
	if plugins, err := h.Engine.ManagedPlugins(ctx); err == nil {
		fmt.Fprintf(&out, "managed plugins: %s\n", cmp.Or(strings.Join(plugins, ", "), "none"))
	}
	for _, file := range []string{"proc/version", "etc/os-release", "proc/uptime", "proc/loadavg", "proc/meminfo"} {
		raw, err := fs.ReadFile(h.Files, file)
		if err != nil {
			raw = []byte(err.Error())
		}
		fmt.Fprintf(&out, "\n/%s\n%s\n", file, bytes.TrimSpace(raw))
	}
	return out.Bytes(), nil
}

// dockerNetworks are gvlan's as the engine has them.
func dockerNetworks(ctx context.Context, h Host) ([]byte, error) {
	all, err := h.Engine.Networks(ctx, "")
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(n engine.Network) bool {
		return n.Driver != h.Settings.DriverName && !strings.HasPrefix(n.Driver, "gvlan")
	})
	for i := range all {
		all[i].Labels = nil // a user's own
	}
	return asJSON(all)
}
