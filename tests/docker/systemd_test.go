package docker_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/tests/lab"
)

// TestService: gvlan.service, installed as README says beside Docker's own unit and
// run by a real systemd, keeps what README says of it.
func TestService(t *testing.T) {
	t.Parallel()
	s := newServiceHost(t)
	s.enable()
	talk := s.pair("lan1", "10.77.0.0/24")
	s.MustDocker(t, "update", "--restart", "always", "two")
	s.sandboxed()
	s.run(s.Host, "lan1", "older")
	s.restarted()
	s.killed()
	s.newcomers("lan1")
	s.lets("older", "new")
	s.stopped()
	talk.goOn()
	talk.end()
	s.poweredOn()
	s.hung()
	s.reaches(s.Hosts[0], "one", s.address(s.Host, "lan1", "two"))
	s.audit()
}

// serviceHost is a cluster of two hosts. On h1 the lab runs the agent; h2 has a systemd
// that runs engine and agent.
type serviceHost struct {
	*cluster
	*lab.Booted // h2, as its systemd sees it
	bare        *lab.Host
}

func newServiceHost(t *testing.T) *serviceHost {
	c := newCluster(t, options{hosts: []lab.HostOptions{{Release: lab.Docker28}, {Release: lab.Docker28, Off: true}}, late: 1,
		args: []string{"--gossip", "on"}}) // as h2 has it
	s := &serviceHost{cluster: c, bare: c.Hosts[1]}
	s.Hosts[0].MustExec(t, "install", c.binary, "/usr/bin/")
	c.binary = "/usr/bin/gvlan" // there is no folder that h2 sees too
	s.boot()
	return s
}

func (s *serviceHost) boot() {
	s.t.Helper()
	s.Booted = must(s.bare.BootSystemd(s.t.Context()))(s.t)
	s.Hosts[1] = s.Host
	s.awaitEngine(s.Host)
}

// enable follows README's quick start on a host whose Docker runs already.
func (s *serviceHost) enable() {
	s.t.Helper()
	for from, to := range map[string]string{program: s.binary, "../../deploy/gvlan.service": "/lib/systemd/system/gvlan.service"} {
		data, err := os.ReadFile(from)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := s.WriteFile(to, data); err != nil {
			s.t.Fatal(err)
		}
	}
	s.MustExec(s.t, "chmod", "755", s.binary)
	config := fmt.Sprintf("etcd-endpoints = [%q]\nnode-name = \"h2\"\nlog-level = \"debug\"\n", s.etcd.Endpoint())
	if err := s.WriteFile("/etc/gvlan/gvlan.toml", []byte(config)); err != nil {
		s.t.Fatal(err)
	}
	s.MustExec(s.t, "systemctl", "enable", "--now", "gvlan")
	// What systemctl waited for is the agent's word that it serves.
	want := map[string]string{"Type": "notify", "ActiveState": "active", "SubState": "running", "NotifyAccess": "main", "NRestarts": "0"}
	if diff := cmp.Diff(want, s.show("gvlan", "Type", "ActiveState", "SubState", "NotifyAccess", "NRestarts")); diff != "" {
		s.t.Fatalf("gvlan.service (-want +got):\n%s", diff)
	}
	s.waitTrusted(s.Host)
}

// show gives properties of a unit as its systemd has them.
func (s *serviceHost) show(unit string, properties ...string) map[string]string {
	s.t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(s.MustExec(s.t, "systemctl", "show", "--property", strings.Join(properties, ","), unit)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[name] = value
	}
	return got
}

func (s *serviceHost) mainPID() string {
	s.t.Helper()
	return s.show("gvlan", "MainPID")["MainPID"]
}

// sandboxed: the kernel holds the agent to what the unit says.
func (s *serviceHost) sandboxed() {
	s.t.Helper()
	proc := "/proc/" + s.mainPID() + "/"
	got := map[string]string{}
	for line := range strings.Lines(s.MustExec(s.t, "cat", proc+"status")) {
		name, value, _ := strings.Cut(line, ":")
		got[name] = strings.TrimSpace(value)
	}
	// linux/capability.h: DAC_READ_SEARCH 2, NET_BIND_SERVICE 10, NET_ADMIN 12,
	// NET_RAW 13, SYS_ADMIN 21; proc(5): seccomp mode 2 is a filter.
	const capabilities = 1<<2 | 1<<10 | 1<<12 | 1<<13 | 1<<21
	for name, want := range map[string]string{
		"CapBnd": fmt.Sprintf("%016x", capabilities), "CapEff": fmt.Sprintf("%016x", capabilities), "CapAmb": fmt.Sprintf("%016x", 0),
		"NoNewPrivs": "1", "Seccomp": "2", "Umask": "0077",
	} {
		if got[name] != want {
			s.t.Errorf("the agent's %s is %s, want %s", name, got[name], want)
		}
	}
	limits := strings.Join(strings.Fields(s.MustExec(s.t, "cat", proc+"limits")), " ")
	if want := "Max core file size 0 0 bytes"; !strings.Contains(limits, want) {
		s.t.Errorf("the agent's limits are %s, want %s", limits, want)
	}
	for kind, own := range map[string]bool{"mnt": true, "uts": true, "net": false, "pid": false, "user": false} {
		if agent, init := s.MustExec(s.t, "readlink", proc+"ns/"+kind), s.MustExec(s.t, "readlink", "/proc/1/ns/"+kind); (agent != init) != own {
			s.t.Errorf("the agent is in %s, systemd and Docker in %s", agent, init)
		}
	}
	s.writesIts()
	s.readsParents()
}

// writesIts: of the host's files the agent can write its own alone, whatever it may
// otherwise, as root sees who enters its mount namespace. Newer releases of systemd leave
// /run out of ProtectSystem=strict.
func (s *serviceHost) writesIts() {
	s.t.Helper()
	const try = `for folder in /usr/bin /etc/gvlan /root /var/lib /var/lib/docker /tmp /proc/sys/kernel \
			/run/docker/plugins /run/gvlan /var/lib/gvlan; do
			[ -d $folder ] || { echo no $folder; exit 1; }
			[ -w $folder ] && echo $folder
		done
		true`
	const want = "/run/docker/plugins\n/run/gvlan\n/var/lib/gvlan"
	if got := s.MustExec(s.t, "nsenter", "--mount", "--target", s.mainPID(), "sh", "-c", try); got != want {
		s.t.Errorf("the agent's mount namespace lets it write to %q, want %q", got, want)
	}
}

// readsParents: the owner of a parent file may be anybody.
func (s *serviceHost) readsParents() {
	s.t.Helper()
	for _, path := range []string{"/etc/gvlan/parents", "/root/parents"} {
		if err := s.WriteFile(path, []byte("eth1\n")); err != nil {
			s.t.Fatal(err)
		}
		s.MustExec(s.t, "sh", "-c", "chmod 600 $0 && chown 1234 $0", path)
		s.MustDocker(s.t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.78.0.0/24", "-o", "parent-file="+path, "parents")
		s.run(s.Host, "parents", "parents")
		s.MustDocker(s.t, "rm", "-f", "parents")
		s.MustDocker(s.t, "network", "rm", "parents")
	}
}

// sandboxes are the mounts of network namespaces, as a process sees them.
func (s *serviceHost) sandboxes(pid string) []string {
	s.t.Helper()
	var mounts []string
	for line := range strings.Lines(s.MustExec(s.t, "cat", "/proc/"+pid+"/mountinfo")) {
		// proc(5): the fourth field is the root, the fifth the mount point.
		if fields := strings.Fields(line); strings.HasPrefix(fields[3], "net:[") {
			mounts = append(mounts, fields[3]+" "+fields[4])
		}
	}
	slices.Sort(mounts)
	return mounts
}

// lets: a container's namespace is mounted for the agent as long as it is for Docker and
// no longer, whether it was there before the agent or came after it: a mount that stays
// would keep the namespace.
func (s *serviceHost) lets(names ...string) {
	s.t.Helper()
	same := func() []string {
		docker, agent := s.sandboxes("1"), s.sandboxes(s.mainPID())
		if diff := cmp.Diff(docker, agent); diff != "" {
			s.t.Errorf("mounted network namespaces, Docker's and (+) the agent's:\n%s", diff)
		}
		return agent
	}
	before := same()
	s.MustDocker(s.t, append([]string{"rm", "-f"}, names...)...)
	if after := same(); len(after) != len(before)-len(names) {
		s.t.Errorf("of %q, %v are left after the end of %v", before, after, names)
	}
}

// leftLine is what h1's agent logs when h2 says that it goes.
const leftLine = `msg="member left" node=h2`

// restarted: `systemctl restart gvlan` tells the other nodes nothing.
func (s *serviceHost) restarted() {
	s.t.Helper()
	told, before := s.times(leftLine), s.mainPID()
	s.MustExec(s.t, "systemctl", "restart", "gvlan")
	if s.mainPID() == before {
		s.t.Errorf("after the restart the agent is process %s, as before", before)
	}
	s.serves()
	if s.times(leftLine) != told {
		s.t.Error("the restart told h1 that h2 goes")
	}
	if out := s.MustExec(s.t, "journalctl", "--unit", "gvlan", "--output", "cat"); strings.Contains(out, "Failed with result") {
		s.t.Errorf("the agent did not end well:\n%s", out)
	}
}

// serves waits until the unit's agent is an agent of the cluster.
func (s *serviceHost) serves() {
	s.t.Helper()
	s.waitTrusted(s.Host)
	s.waitState(s.Hosts[:1], "h2", ready)
	s.waitNetwork(s.Host, "lan1")
}

// killed: systemd starts it again.
func (s *serviceHost) killed() {
	s.t.Helper()
	s.signalled("KILL")
}

// hung: an agent that no longer pets its watchdog is ended and started again.
func (s *serviceHost) hung() {
	s.t.Helper()
	s.signalled("STOP")
	if out := s.MustExec(s.t, "journalctl", "--unit", "gvlan", "--output", "cat"); !strings.Contains(out, "Watchdog timeout") {
		s.t.Errorf("no word of the watchdog in the journal:\n%s", out)
	}
}

// signalled sends the agent a signal that it cannot handle and waits until systemd has
// started another.
func (s *serviceHost) signalled(signal string) {
	s.t.Helper()
	before := s.mainPID()
	s.MustExec(s.t, "systemctl", "kill", "--kill-whom", "main", "--signal", signal, "gvlan")
	eventually(s.t, "systemd to start the agent again", func() error {
		got := s.show("gvlan", "MainPID", "NRestarts", "ActiveState")
		if got["MainPID"] == before || got["NRestarts"] == "0" || got["ActiveState"] != "active" {
			return fmt.Errorf("gvlan.service: %v", got)
		}
		return nil
	})
	s.serves()
}

// stopped: the agent ends in order and says so to the others.
func (s *serviceHost) stopped() {
	s.t.Helper()
	s.MustExec(s.t, "systemctl", "stop", "gvlan")
	want := map[string]string{"ActiveState": "inactive", "Result": "success", "ExecMainCode": "1", "ExecMainStatus": "0"} // CLD_EXITED
	if diff := cmp.Diff(want, s.show("gvlan", "ActiveState", "Result", "ExecMainCode", "ExecMainStatus")); diff != "" {
		s.t.Errorf("gvlan.service after its stop (-want +got):\n%s", diff)
	}
	s.waitState(s.Hosts[:1], "h2", down)
	if !s.nodes(s.Hosts[0])["h2"].Stopped {
		s.t.Error("h1 does not show that h2 was stopped")
	}
	if got, err := s.Exec(s.t.Context(), "find", "/run/gvlan", "/run/docker/plugins", "-mindepth", "1"); got != "" {
		s.t.Errorf("the stop left %s (%v)", got, err)
	}
}

// lingers keeps an agent from its start until there is a dockerd, for 3 s: one that does
// not wait for the agent is there by then. The shorter watchdog is for hung.
const lingers = `[Service]
WatchdogSec=5s
ExecStartPre=/bin/sh -c 'n=0; until [ -e /run/docker.pid ] || [ $n = 30 ]; do sleep 0.1; n=$((n+1)); done'
`

// poweredOn: after a power cut the agent is there before dockerd, which then
// starts its containers.
func (s *serviceHost) poweredOn() {
	s.t.Helper()
	if err := s.WriteFile("/etc/systemd/system/gvlan.service.d/lingers.conf", []byte(lingers)); err != nil {
		s.t.Fatal(err)
	}
	if err := s.Off(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.bare.Boot(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.boot()
	s.serves()
	agent, engine := s.show("gvlan", "ActiveEnterTimestampMonotonic"), s.show("docker", "ExecMainStartTimestampMonotonic")
	began, _ := strconv.ParseInt(engine["ExecMainStartTimestampMonotonic"], 10, 64)
	if at, err := strconv.ParseInt(agent["ActiveEnterTimestampMonotonic"], 10, 64); err != nil || at > began {
		s.t.Errorf("the agent was ready at %v, dockerd started at %v; want the agent first", agent, engine)
	}
	// dockerd starts them before it answers; what it could not start it leaves.
	if got := s.MustDocker(s.t, "ps", "--format", "{{.Names}}"); got != "two" {
		s.t.Errorf("after the boot these containers run: %q, want two", got)
	}
}
