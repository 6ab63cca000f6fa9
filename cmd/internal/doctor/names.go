package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"gvlan/driver/engine"
)

// asked is how many containers are tried, and tries how often a name that is
// not answered is asked for: a container that has just started is not in the
// zone yet.
const (
	asked = 3
	tries = 3
)

// checkNames asks for names where containers ask for them, and looks who else
// answers questions on this host.
func checkNames(ctx context.Context, f *facts) (string, []Finding, error) {
	if !f.Config.DNS.On {
		return "", nil, notNeeded("--dns off")
	}
	found := strangersAt53(f)
	if f.status.err != nil {
		return "", found, errNoAgent
	}
	networks, err := f.networks()
	if err != nil {
		return "", found, err
	}
	if f.containers.err != nil {
		return "", found, f.containers.err
	}
	silent := map[string]bool{} // names of networks without names
	ours := map[string]bool{}
	for _, n := range networks {
		ours[n.Name], silent[n.Name] = true, n.options.NoDNS
	}
	done := 0
	for _, c := range f.containers.value {
		i := slices.IndexFunc(c.Attachments, func(a engine.Attachment) bool {
			return ours[a.Network] && !silent[a.Network] && (a.IPv4.IsValid() || a.IPv6.IsValid())
		})
		if c.State != engine.StateRunning || c.SandboxKey == "" || i < 0 || done == asked {
			continue
		}
		done++
		if x, failed := askIn(f, ctx, c, c.Attachments[i]); failed {
			found = append(found, x)
		}
	}
	if done == 0 {
		return "", found, notNeeded("no container of gvlan's runs here to ask from")
	}
	return fmt.Sprintf("asked from containers: %d", done), found, nil
}

// askIn asks a container's own name in its own sandbox: by Docker's resolver's
// address, as everything there does.
func askIn(f *facts, ctx context.Context, c engine.ContainerDetail, a engine.Attachment) (Finding, bool) {
	name := c.Name + "." + a.Network + "." + f.Config.DNS.Domain
	six := !a.IPv4.IsValid()
	want := a.IPv4.Addr()
	if six {
		want = a.IPv6.Addr()
	}
	var got []netip.Addr
	var err error
	for try := range tries {
		if try > 0 {
			f.Sleep(ctx, time.Second)
		}
		if got, err = f.Ask(ctx, f.Config.HostPath(c.SandboxKey), name, six); err == nil && slices.Contains(got, want) {
			return Finding{}, false
		}
	}
	what := fmt.Sprintf("in container %s nobody answers for %s", c.Name, name)
	switch {
	case err != nil:
		what += ": " + err.Error()
	case len(got) > 0:
		what = fmt.Sprintf("in container %s the answer for %s is %v, and not its address %s", c.Name, name, got, want)
	}
	return Finding{
		Severity: Fault,
		What:     what,
		Why:      "containers there get no names of other hosts' containers",
		Cure:     fmt.Sprintf("gvlan dns lookup --from %s %s says what gvlan would answer; journalctl -u gvlan -g %s; docker restart %s makes its resolver anew", c.Name, name, c.Name, c.Name),
	}, true
}

// strangersAt53 finds containers on the host's own network that answer
// questions at port 53: whoever asks them gets none of gvlan's names.
func strangersAt53(f *facts) []Finding {
	var at []listener
	var inodes []string
	for _, l := range f.listeners() {
		if l.number == 53 {
			at, inodes = append(at, l), append(inodes, l.inode)
		}
	}
	owners := f.owners(inodes)
	var found []Finding
	told := map[string]bool{}
	for _, l := range at {
		o := owners[l.inode]
		for _, c := range f.containers.value {
			if c.NetworkMode != hostMode || told[c.ID] || o.pid == "" || !strings.Contains(f.read(path.Join("proc", o.pid, "cgroup")), c.ID) {
				continue
			}
			told[c.ID] = true
			found = append(found, Finding{
				Severity: Hint,
				What:     fmt.Sprintf("container %s (--network host) answers names at port 53 of this host", c.Name),
				Why:      "who asks it gets no names of containers; and gvlan cannot listen there itself",
				Cure:     fmt.Sprintf("have it pass %s on to gvlan: gvlan dns setup prints how for dnsmasq, CoreDNS and unbound", f.Config.DNS.Domain),
			})
		}
	}
	return found
}
