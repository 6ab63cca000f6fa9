package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"gvlan/cmd/internal/secretfile"
)

// checkAgent looks whether the agent runs, and as what.
func checkAgent(_ context.Context, f *facts) (string, []Finding, error) {
	if err := f.status.err; err != nil {
		cure := "systemctl start gvlan; journalctl -u gvlan -n 50 says why it ended"
		if f.Config.Swarm {
			cure = "docker plugin enable " + f.Config.DriverName + "; its log is dockerd's: journalctl -u docker"
		}
		return "", []Finding{{
			Severity: Fault,
			What:     "the agent does not answer: " + err.Error(),
			Why:      "containers go on; starts and stops wait 15 s for each of Docker's calls, and no address is given",
			Cure:     cure,
		}}, nil
	}
	s := f.status.value
	saw := fmt.Sprintf("gvlan %s, node %s", s.Version, s.Node)
	if s.Version == f.Version {
		return saw, nil, nil
	}
	return saw, []Finding{{
		Severity: Hint,
		What:     fmt.Sprintf("the agent that runs is gvlan %s, this command %s", s.Version, f.Version),
		Why:      "an upgrade takes effect when the agent starts again",
		Cure:     "systemctl restart gvlan; containers go on and keep their addresses",
	}}, nil
}

// checkSecrets looks whether the files that the settings name for secrets are root's
// alone. The agent has read them when it started; it will not again.
func checkSecrets(_ context.Context, f *facts) (string, []Finding, error) {
	var found []Finding
	files := f.Config.SecretFiles()
	for _, file := range files {
		err := f.Secret(file.Path)
		if !errors.Is(err, secretfile.ErrExposed) {
			continue // one that is not there is for who reads it
		}
		what, cure, _ := strings.Cut(err.Error(), ": ")
		found = append(found, Finding{
			Severity: Fault,
			What:     fmt.Sprintf("--%s: %s", file.Option, what),
			Why:      "what is in it lets in whoever has it, and the agent refuses such a file when it starts",
			Cure:     cure + "; then change the secret",
		})
	}
	return fmt.Sprintf("files with secrets: %d", len(files)), found, nil
}

// Bounds of what the store and its disk should do. A majority answers a read in
// a millisecond or two on one LAN; etcd's own advice for a disk is 10 ms.
const (
	slowRead  = 200 * time.Millisecond
	slowFlush = 100 * time.Millisecond
	farBehind = 10_000 // entries of the log
)

// checkStore asks how the store is, of which this host may have a copy.
func checkStore(_ context.Context, f *facts) (string, []Finding, error) {
	if f.status.err != nil {
		return "", nil, errNoAgent
	}
	var found []Finding
	at := f.status.value.Etcd
	if !at.Trusted {
		cure := "gvlan store ls, on this host and on those it names; TCP 2379 between them"
		if at.Asks {
			cure = "gvlan recover, once, on any host, when every host that is to come back is there"
		}
		found = append(found, Finding{Severity: Fault, What: "no new address is given: " + at.Why, Why: "containers that need a new one do not start", Cure: cure})
	}
	saw := []string{"at " + list(at.Endpoints)}
	if f.store.err == nil {
		for _, m := range f.store.value.Members {
			found = append(found, judgeMember(m.Host, m.Why, m.Lag, m.Alarms)...)
		}
		for _, w := range f.store.value.Warnings {
			found = append(found, Finding{Severity: Hint, What: w, Why: "the store's own warning", Cure: "gvlan store ls"})
		}
		saw = append(saw, fmt.Sprintf("members: %d", len(f.store.value.Members)))
	}
	if f.reads.err != nil {
		return strings.Join(saw, "; "), found, nil //nolint:nilerr // that it does not answer is found above
	}
	took := median(f.reads.value.Took)
	if took > 0 {
		saw = append(saw, fmt.Sprintf("a read takes %s", took.Round(10*time.Microsecond)))
	}
	if took > slowRead {
		found = append(found, Finding{
			Severity: Hint,
			What:     fmt.Sprintf("the store answers a read in %s", took.Round(time.Millisecond)),
			Why:      "every new address waits for a write, which takes longer; over 5 s it is refused",
			Cure:     "gvlan store ls shows the members: look at load, disks and links of those hosts; gvlan node drain moves a member elsewhere",
		})
	}
	return strings.Join(saw, "; "), found, nil
}

// judgeMember judges one member of the store.
func judgeMember(host, why string, lag uint64, alarms []string) []Finding {
	var found []Finding
	if why != "" {
		found = append(found, Finding{
			Severity: Fault,
			What:     fmt.Sprintf("the store's member on %s %s", host, why),
			Why:      "one more that goes may leave no majority, and then no new address is given",
			Cure:     fmt.Sprintf("systemctl status gvlan on %s; after ten minutes another host takes its place", host),
		})
	}
	if lag > farBehind {
		found = append(found, Finding{
			Severity: Hint,
			What:     fmt.Sprintf("the store's member on %s is %d changes behind", host, lag),
			Why:      "it cannot take over from the others until it has them",
			Cure:     "look at load, disk and link of " + host,
		})
	}
	if len(alarms) > 0 {
		found = append(found, Finding{
			Severity: Fault,
			What:     fmt.Sprintf("the store's member on %s raises %s", host, list(alarms)),
			Why:      "NOSPACE: nothing can be written, so no new address is given; CORRUPT: its copy is another than the others'",
			Cure:     "NOSPACE: room is made by itself, if the disk of " + host + " has some; CORRUPT: gvlan node drain " + host + " moves it to another host",
		})
	}
	return found
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// Room that the data folder should have left. The store's member ends below
// 32 MiB and starts from 96 MiB on.
const (
	leastRoom = 256 << 20
	goodRoom  = 1 << 30
)

// checkDisk looks at the disk of the journal and of the store's member.
func checkDisk(_ context.Context, f *facts) (string, []Finding, error) {
	dir := f.Config.DataDir
	if f.Config.Swarm {
		return "", nil, notNeeded("a managed plugin's folder is in Docker's")
	}
	if _, err := fs.Stat(f.Files, strings.TrimPrefix(dir, "/")); err != nil {
		return "", nil, notNeeded("%s is not there", dir)
	}
	free, err := f.Disk.Free(dir)
	if err != nil {
		return "", nil, err
	}
	saw := fmt.Sprintf("%s has %d MiB left", dir, free>>20)
	var found []Finding
	if free < goodRoom {
		x := Finding{
			Severity: Hint,
			What:     fmt.Sprintf("%d MiB are left for %s", free>>20, dir),
			Why:      "a full disk ends this host's member of the store, and no address can be noted down",
			Cure:     "make room on it; docker system prune, journalctl --vacuum-size=500M; or --data-dir on another",
		}
		if free < leastRoom {
			x.Severity = Fault
		}
		found = append(found, x)
	}
	took, err := f.Disk.Flush(dir)
	if err != nil {
		return saw, found, err
	}
	saw += fmt.Sprintf(", a write takes %s", took.Round(10*time.Microsecond))
	if took > slowFlush {
		found = append(found, Finding{
			Severity: Hint,
			What:     fmt.Sprintf("a small write to %s takes %s until it is on the disk", dir, took.Round(time.Millisecond)),
			Why:      "every address waits for such writes, here and on the store's members; a slow member loses the lead again and again",
			Cure:     "an SSD, or less beside it: iostat -x 1 shows who is busy; gvlan node drain moves this host's member elsewhere",
		})
	}
	return saw, found, nil
}
