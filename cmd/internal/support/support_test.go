package support_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/doctor"
	"gvlan/cmd/internal/support"
	"gvlan/dns/zone"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
)

// agent answers what a test gives it.
type agent map[string]any

func (a agent) Get(_ context.Context, route string, value any) error {
	path, _, _ := strings.Cut(route, "?")
	answer, ok := a[path]
	if !ok {
		return errors.New("the agent of this test does not know " + path)
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, value)
}

const (
	token = "gvlan1-abcdefghijklmnop-qrstuvwxyz234567"
	key   = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIKeyMaterial\n-----END EC PRIVATE KEY-----"
	log   = `2026-11-29T12:00:00+0000 gvlan[7]: level=INFO msg=answered network=payroll container=billing host=alpha.corp.example took=1ms
2026-11-29T12:00:01+0000 gvlan[7]: level=WARN msg="address 10.0.0.7 is in use by container gone-db on node beta" network="Back Office"
2026-11-29T12:00:02+0000 gvlan[7]: level=WARN msg="asked BILLING.payroll.corp.example for its address" container=long-gone
2026-11-29T12:00:03+0000 gvlan[7]: started with --token ` + token + ` etcd_password=tr0ub4dor https://user:pa55word@etcd.corp.example:2379
` + key + `
2026-11-29T12:00:04+0000 gvlan[7]: {"level":"WARN","msg":"tried again","network":"laundry","container":"washed \"up\"","node":"gamma"}
2026-11-29T12:00:05+0000 gvlan[7]: msg="{\"etcd_password\":\"s3cr3tly\",\"x\":1}" cmd="gvlan agent --etcd-password pl41nly --token-file /root/token"
2026-11-29T12:00:06+0000 gvlan[7]: dial https://root:p@rts@10.0.0.3:2379 https://on1ytoken@10.0.0.3 Authorization: Bearer be4rer.of.it
2026-11-29T12:00:07+0000 gvlan[7]: msg="login with ` + `qu\"oted<pw` + ` failed" query=?pw=qu%22oted%3Cpw
`
)

// ours is a host with names and secrets in every corner.
func ours(t *testing.T) support.Host {
	t.Helper()
	settings, err := config.FromShown(nil)
	if err != nil {
		t.Fatal(err)
	}
	settings.Etcd.Endpoints = []string{"https://etcd.corp.example:2379", "https://dbface:2379", "https://[fd00::7]:2379"}
	settings.Etcd.Password, settings.Join.Token, settings.DNS.Domain = "hunter2hunter2", token, "corp.example"
	settings.Advertise, settings.DNS.Upstream = "eth7", []string{"resolver9:53"}
	settings.Parents.Networks = map[string]string{"payroll": "eth1"}
	docker := enginetest.New()
	docker.SetInfo(func(i *engine.Info) { i.Hostname = "alpha" })
	docker.AddNetwork(engine.Network{Name: "payroll", Driver: "gvlan", IPv4: true, Labels: map[string]string{"owner": "hunter2hunter2"},
		IPAM: engine.IPAM{
			Options: map[string]string{"segment": "hidden-lab"},
			Pools:   []engine.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Aux: map[string]netip.Addr{"bigprinter": netip.MustParseAddr("10.0.0.8")}}},
		}})
	docker.AddNetwork(engine.Network{Name: "secretproject_default", Driver: "bridge", IPv4: true})
	docker.CreateContainer(enginetest.ContainerSpec{Name: "billing", Network: "payroll"})
	docker.CreateContainer(enginetest.ContainerSpec{Name: "side-car", Network: "secretproject_default", Labels: map[string]string{"com.docker.compose.project": "secretproject"}})
	return support.Host{
		Name: "alpha.corp.example", Version: "1.0", Settings: settings, Secrets: []string{"hunter2hunter2", "", "a", `qu"oted<pw`},
		Agent: agent{
			api.StatusRoute:   api.Status{Node: "0a1b2c", Host: "alpha", Networks: []api.NetworkStatus{{Name: "payroll"}}, FailedStarts: []string{"cron-job"}},
			api.NodesRoute:    []api.NodeView{{Node: "0a1b2c", Host: "alpha"}, {Node: "10.0.0.9", Host: "10.0.0.9", Interfaces: []store.Interface{{Name: "eth7"}}}, {Node: "0d1e2f", Host: "beta"}},
			api.MembersRoute:  []api.MemberView{{Node: "0d1e2f", Name: "beta"}},
			api.NetworksRoute: []api.NetworkView{{Name: "Back Office", Origin: "0d1e2f", Hosts: []api.NetworkHost{{Node: "0d1e2f", Host: "beta", Endpoints: []api.EndpointView{{Container: "front.door"}}}}}},
			api.NamesRoute:    []api.NameView{{Record: zone.Record{Name: "alias-of-billing", Network: "payroll", Node: "0a1b2c"}, Host: "alpha"}},
			api.CountsRoute:   []api.NameCounts{{Zone: "."}, {Zone: "corp.example."}},
			api.StoreRoute:    api.StoreView{Members: []api.StoreMember{{Node: "0a1b2c", Host: "alpha", Role: "voter"}}},
		},
		Engine: docker,
		Examine: func(context.Context) doctor.Report {
			return doctor.Report{Host: "alpha", Findings: []doctor.Finding{{What: "container billing publishes 80/tcp"}}}
		},
		Run: func(_ context.Context, program string, args ...string) ([]byte, error) {
			switch {
			case program == "journalctl" && slices.Contains(args, "gvlan"):
				return []byte(log), nil
			case program == "journalctl":
				return []byte("dockerd: plugin gvlan-swarm says " + token + "\ndockerd: image registry.corp.example/x pulled\n"), nil
			case program == "nft":
				return nil, errors.New("no such program")
			}
			return []byte(`[{"ifname":"eth0"}]`), nil
		},
		Files: fstest.MapFS{"proc/version": {Data: []byte("Linux version 6.1 on alpha")}, "etc/os-release": {Data: []byte("NAME=Debian")}},
		Now:   func() time.Time { return time.Unix(1_700_000_000, 0) },
	}
}

// unpack is an archive's files by name.
func unpack(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	packed, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for reader := tar.NewReader(packed); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(header.Name, "gvlan-support/")] = string(text)
	}
}

func packed(t *testing.T, h support.Host, redact bool) map[string]string {
	t.Helper()
	var out bytes.Buffer
	if err := support.Write(t.Context(), &out, h, redact); err != nil {
		t.Fatal(err)
	}
	return unpack(t, out.Bytes())
}

// grep finds a text in any spelling in any file.
func grep(files map[string]string, text string) (found []string) {
	for name, content := range files {
		for line := range strings.Lines(content) {
			if strings.Contains(strings.ToLower(line), strings.ToLower(text)) {
				found = append(found, fmt.Sprintf("%s: %s", name, strings.TrimSpace(line)))
			}
		}
	}
	return found
}

var secret = []string{"abcdefghijklmnop", "qrstuvwxyz234567", "hunter2", "tr0ub4dor", "pa55word", "KeyMaterial", "s3cr3tly", "pl41nly", "p@rts", "rts@", "on1ytoken", "be4rer", "oted"}

// TestNoSecrets: neither as it is nor with pseudonyms.
func TestNoSecrets(t *testing.T) {
	for _, redact := range []bool{false, true} {
		files := packed(t, ours(t), redact)
		for _, s := range secret {
			for _, line := range grep(files, s) {
				t.Errorf("redact %t: %q is in %s", redact, s, line)
			}
		}
	}
}

// TestRedact: no name of anybody is left, what is told of each still is, and
// one name has one pseudonym.
func TestRedact(t *testing.T) {
	files := packed(t, ours(t), true)
	for _, name := range []string{
		"billing", "gone-db", "long-gone", "front.door", "cron-job", "side-car", "payroll", "back office", "secretproject", "hidden-lab", "bigprinter",
		"alpha", "beta", "corp.example", "0a1b2c", "0d1e2f", "laundry", "washed", "gamma", "dbface", "resolver9",
	} {
		for _, line := range grep(files, name) {
			t.Errorf("%q is in %s", name, line)
		}
	}
	for _, address := range []string{"10.0.0.7", "10.0.0.9", "eth7", "fd00::7", "/root/token", "advertise                eth7"} {
		if len(grep(files, address)) == 0 {
			t.Errorf("%s, which is the name of none of these, is not there any more", address)
		}
	}
	plain := packed(t, ours(t), false)
	if len(grep(plain, "billing")) == 0 || len(grep(plain, "long-gone")) == 0 {
		t.Error("without --redact the names are not there either")
	}
	lines := strings.Split(files["logs/gvlan.log"], "\n")
	stand := strings.TrimSuffix(lines[2][strings.Index(lines[2], "asked ")+len("asked "):], " for its address\" container=container-6")
	first, _, _ := strings.Cut(stand, ".")
	if !strings.HasPrefix(first, "container-") || !strings.Contains(lines[0], "container="+first+" ") {
		t.Errorf("one container has two names in\n%s\n%s", lines[0], lines[2])
	}
	var report doctor.Report
	if err := json.Unmarshal([]byte(files["doctor.json"]), &report); err != nil || report.Findings[0].What != "container "+first+" publishes 80/tcp" {
		t.Errorf("doctor.json has %+v (%v)", report, err)
	}
}

// TestNumbersThatAreNames are replaced where they are names, and nowhere else: an
// archive that is no JSON any more, or without addresses, is of no use.
func TestNumbersThatAreNames(t *testing.T) {
	h := ours(t)
	h.Agent.(agent)[api.NetworksRoute] = []api.NetworkView{{
		Name: "100", Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.100.0.0/24")}}, Hosts: []api.NetworkHost{{Host: "100.5", Why: "network 100 has no parent"}},
	}}
	h.Agent.(agent)[api.NodesRoute] = []api.NodeView{{Host: "beta", Epoch: 100}}
	h.Run = func(context.Context, string, ...string) ([]byte, error) {
		return []byte("network=100 address=10.100.0.7 took=100ms\n"), nil
	}
	files := packed(t, h, true)
	for _, name := range []string{"agent/networks.json", "agent/nodes.json"} {
		if !json.Valid([]byte(files[name])) {
			t.Errorf("%s is no JSON:\n%s", name, files[name])
		}
	}
	for _, text := range []string{`"100"`, "network 100", "network=100", `"100.5"`} {
		for _, line := range grep(files, text) {
			t.Errorf("%s is in %s", text, line)
		}
	}
	for _, text := range []string{"10.100.0.0/24", "10.100.0.7", "took=100ms", `"epoch": 100`} {
		if len(grep(files, text)) == 0 {
			t.Errorf("%s is not there any more", text)
		}
	}
}

// TestALongPartIsCutLast: the names in what is no document any more are replaced all
// the same.
func TestALongPartIsCutLast(t *testing.T) {
	h := ours(t)
	h.Largest = 4000
	h.Agent.(agent)[api.NetworksRoute] = []api.NetworkView{{
		Name: "first", Options: map[string]string{"long": strings.Repeat("x", 5000)}, Hosts: []api.NetworkHost{{Host: "last-of-all"}},
	}}
	files := packed(t, h, true)
	text := files["agent/networks.json"]
	if len(text) > 5000 || !strings.Contains(text, "bytes before this are left out") {
		t.Fatalf("%d bytes, which begin with %.80q", len(text), text)
	}
	if strings.Contains(text, "last-of-all") {
		t.Error("a name that is only in that part is in it")
	}
}

// TestParts: what fails is told, and the rest is there.
func TestParts(t *testing.T) {
	files := packed(t, ours(t), false)
	for _, want := range []string{"README.txt", "doctor.json", "settings.txt", "versions.txt", "agent/status.json", "agent/store.json", "logs/gvlan.log", "host/links.json", "docker/networks.json"} {
		if files[want] == "" {
			t.Errorf("%s is not in the archive", want)
		}
	}
	if got := files["host/firewall.txt.missing.txt"]; !strings.Contains(got, "no such program") {
		t.Errorf("that nft is not there is told as %q", got)
	}
	if got := files["logs/docker.log"]; strings.Contains(got, "registry") || !strings.Contains(got, "gvlan-swarm") {
		t.Errorf("of dockerd's log there is %q, want what plugins say", got)
	}
	if !strings.Contains(files["settings.txt"], "etcd-password") || !strings.Contains(files["settings.txt"], "(secret)") {
		t.Errorf("the settings are\n%s", files["settings.txt"])
	}
}

// TestEverythingDown: an archive is made all the same.
func TestEverythingDown(t *testing.T) {
	h := ours(t)
	docker := enginetest.New()
	docker.Down()
	h.Agent, h.Engine, h.Files = agent{}, docker, fstest.MapFS{}
	h.Run = func(context.Context, string, ...string) ([]byte, error) { return nil, errors.New("nothing runs") }
	files := packed(t, h, true)
	for _, want := range []string{"doctor.json", "versions.txt", "settings.txt", "agent/status.json.missing.txt", "logs/gvlan.log.missing.txt", "docker/networks.json.missing.txt"} {
		if files[want] == "" {
			t.Errorf("%s is not in the archive", want)
		}
	}
}
