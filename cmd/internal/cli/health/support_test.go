package health

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/doctor"
)

// TestSupport packs whatever host this is, without an agent and an engine; never
// over another file.
func TestSupport(t *testing.T) {
	folder := t.TempDir()
	nobody, file := filepath.Join(folder, "nobody.sock"), filepath.Join(folder, "out.tar.gz")
	args := []string{file, "--docker", "unix://" + nobody, "--data-dir", folder, "--plugin-socket-dir", folder}
	if got := clitest.Type(t, NewSupport("1.0"), nobody, args...); got.Status != frame.Well || got.Out != file+"\n" {
		t.Fatalf("gvlan support ends with %+v, want that it names its file", got)
	}
	packed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for reader := tar.NewReader(unpacked); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	for _, want := range []string{"gvlan-support/README.txt", "gvlan-support/doctor.json", "gvlan-support/agent/status.json.missing.txt"} {
		if !strings.Contains(strings.Join(names, "\n"), want) {
			t.Errorf("%s is not in the archive, which has %v", want, names)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the archive is %v (%v), want it to be root's only", info.Mode(), err)
	}
	if got := clitest.Type(t, NewSupport("1.0"), nobody, args...); got.Status != frame.Failed || !strings.Contains(got.Err, "is there already: give another FILE") {
		t.Errorf("over another file gvlan support ends with %+v", got)
	}
}

// TestSecretsOfTheCommandsOwnSettings: the agent's, as it tells them, have none.
func TestSecretsOfTheCommandsOwnSettings(t *testing.T) {
	var own config.Config
	own.Etcd.Password = "hunter2hunter2"
	if got := packed(doctor.Host{}, own).Secrets; !slices.Contains(got, own.Etcd.Password) {
		t.Errorf("the secrets are %q", got)
	}
}

// TestAnAgentThatHangs is examined with the settings of the command.
func TestAnAgentThatHangs(t *testing.T) {
	own := config.Config{DriverName: "mine"}
	own.StatusSocket = clitest.Agent(t, clitest.Answers{"GET " + api.SettingsRoute: func(r *http.Request) (any, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}})
	if got, err := inEffect(t.Context(), own, time.Millisecond); err != nil || got.DriverName != "mine" {
		t.Errorf("the settings are %+v (%v)", got, err)
	}
}
