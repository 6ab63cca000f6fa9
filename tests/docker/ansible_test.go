package docker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"gvlan/tests/lab"
)

// role is where deploy/ has what Ansible plays.
const role = "../../deploy/ansible"

// TestAnsible: the role is well written, makes three fresh hosts a cluster, changes
// nothing when it is played again, also not in check mode, and says the token to nobody.
func TestAnsible(t *testing.T) {
	t.Parallel()
	var linted sync.WaitGroup
	linted.Go(func() {
		lint := exec.Command("ansible-lint", "--offline", "--nocolor", "--profile", "production", "gvlan.yml", "inventory.yml", "roles/gvlan")
		lint.Dir = role
		lint.Env = append(os.Environ(), "HOME="+t.TempDir())
		if said, err := lint.CombinedOutput(); err != nil {
			t.Errorf("ansible-lint: %v\n%s", err, said)
		}
	})
	defer linted.Wait()

	a := &ansible{cluster: newHomeLAN(t, lab.Docker20, lab.Docker20, lab.Docker20)} // whose root has Python
	a.prepare()
	first := a.play()
	token := a.gvlan(a.Hosts[0], "token", "show", "-q")
	for _, h := range a.Hosts {
		if recap := recapOf(first, h.Name); recap["changed"] == "0" || recap["failed"] != "0" {
			t.Errorf("%s: %v, want changes and no failure", h.Name, recap)
		}
		if s := a.status(h); s.Solo || !s.Etcd.Trusted {
			t.Errorf("%s: %+v, want it in the cluster", h.Name, s)
		}
		if got := a.gvlan(h, "config", "check", "--format", "{{.Name}}={{.Value}}"); !strings.Contains(got, "metrics-listen=127.0.0.1:9640") {
			t.Errorf("%s has not the settings of the inventory:\n%s", h.Name, got)
		}
	}
	a.waitMembers(a.Hosts, 3, 0)
	second := a.play()
	for _, h := range a.Hosts {
		if recap := recapOf(second, h.Name); recap["changed"] != "0" || recap["failed"] != "0" {
			t.Errorf("%s, played again: %v, want no change", h.Name, recap)
		}
	}
	if recap := recapOf(a.play("--check", "--limit", a.Hosts[0].Name), a.Hosts[0].Name); recap["changed"] != "0" || recap["failed"] != "0" {
		t.Errorf("%s, with --check: %v, want no change", a.Hosts[0].Name, recap)
	}
	a.secret(token, first, second)
}

// ansible plays the role on hosts that it enters as ssh would.
type ansible struct {
	*cluster
	folder string // HOME, inventory, package
}

// prepare writes an inventory of the lab's hosts, and what stands for ssh: it enters
// the machine that the inventory names as the host.
func (a *ansible) prepare() {
	a.t.Helper()
	a.folder = a.t.TempDir()
	inventory := string(must(os.ReadFile(filepath.Join(role, "inventory.yml")))(a.t))
	doors := "#!/bin/sh\nfor command; do :; done\nfor word; do case $word in\n"
	for i, h := range a.Hosts {
		address := fmt.Sprintf("192.168.1.%d", 10+i)
		if !strings.Contains(inventory, h.Name+":\n      ansible_host: "+address) {
			a.t.Errorf("the inventory has no %s at %s", h.Name, address)
		}
		doors += address + ") exec " + strings.Join(h.Enter(), " ") + " /bin/sh -c \"cd /root; $command\";;\n"
	}
	must(0, os.WriteFile(a.folder+"/enter", []byte(doors+"esac; done\nexit 255\n"), 0o755))(a.t)
	file := must(deb())(a.t)
	inventory = strings.Replace(inventory, "gvlan_package: gvlan_0.1.0_amd64.deb", "gvlan_package: "+file, 1)
	must(0, os.WriteFile(a.folder+"/inventory.yml", []byte(inventory), 0o600))(a.t)
}

// play plays the playbook, with every word that Ansible has to say of it.
func (a *ansible) play(more ...string) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 2*patience)
	defer cancel()
	play := exec.CommandContext(ctx, "ansible-playbook", append([]string{"-vvv", "-i", a.folder + "/inventory.yml", "gvlan.yml"}, more...)...)
	play.Dir = role
	play.Env = append(os.Environ(), a.Mark(), "HOME="+a.folder, "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1", "ANSIBLE_SSH_EXECUTABLE="+a.folder+"/enter",
		"ANSIBLE_SSH_TRANSFER_METHOD=piped", "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3", "ANSIBLE_HOST_KEY_CHECKING=0")
	said, err := play.CombinedOutput()
	if err != nil {
		a.t.Fatalf("ansible-playbook: %v\n%s", err, said)
	}
	return string(said)
}

// secret: neither Ansible nor a host's journal, where its modules log what they are
// told, has a word of the token's.
func (a *ansible) secret(token string, said ...string) {
	a.t.Helper()
	for _, h := range a.Hosts {
		said = append(said, h.MustExec(a.t, "journalctl", "--output", "cat"))
	}
	for _, text := range said {
		if i := strings.Index(text, token); i >= 0 {
			a.t.Errorf("the token is in\n%s", text[max(0, i-500):i])
		}
	}
}

// recapOf is the last line that Ansible has of a host.
func recapOf(said, host string) map[string]string {
	recap := map[string]string{}
	_, said, _ = strings.Cut(said, "PLAY RECAP")
	for line := range strings.Lines(said) {
		if name, counts, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == host {
			for _, m := range regexp.MustCompile(`(\w+)=(\d+)`).FindAllStringSubmatch(counts, -1) {
				recap[m[1]] = m[2]
			}
		}
	}
	return recap
}
