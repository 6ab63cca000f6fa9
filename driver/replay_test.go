package driver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gvlan/driver/plugin"
	"gvlan/ipam/pool"
)

// wireFolder has what real engines said to a plugin that recorded it.
const wireFolder = "../tests/docker/testdata/wire"

// refusals are the scenarios that end where this plugin, unlike the recorder,
// refuses: with these words.
var refusals = map[string]string{
	"create-driver-only": "add --ipam-driver gvlan",
	"create-options":     "give order=lowest or order=random",
}

// TestReplay sends the plugin, request by request, what Docker sent the
// recorder. What the recorder granted is granted; what it refused because the
// address was held is refused; a retry without a body is 400.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(wireFolder, "*", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings in %s: %v", wireFolder, err)
	}
	for _, path := range files {
		scenario := strings.TrimSuffix(filepath.Base(path), ".jsonl")
		t.Run(filepath.Base(filepath.Dir(path))+"/"+scenario, func(t *testing.T) {
			t.Parallel()
			r := &replay{machine: newCluster(t).host("h1"), scenario: scenario, ours: map[string]string{
				"reclocal": pool.LocalSpace, "recglobal": pool.GlobalSpace,
			}}
			r.engine.Down() // it lists nothing that a recording makes
			// What Docker does while the plugin is away nobody tells it: reconcile
			// finds that.
			r.lost = strings.HasPrefix(scenario, "plugin-down")
			for _, line := range recorded(t, path) {
				if !r.play(line) {
					return
				}
			}
			r.end()
		})
	}
}

// recording is one line of a recording; only calls have a method.
type recording struct {
	At       time.Time
	Method   string
	Request  any
	Response map[string]any
	Status   int
}

// refused is what the recorder answered, "" when it granted.
func (l recording) refused() string {
	for _, key := range []string{"Err", "Error"} {
		if s, ok := l.Response[key].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// recorded reads the calls of a recording.
func recorded(t *testing.T, path string) (calls []recording) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(file))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line recording
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if line.Method != "" {
			calls = append(calls, line)
		}
	}
	return calls
}

// replay is a recording in play against one host.
type replay struct {
	*machine
	scenario string
	ours     map[string]string // what this plugin answered where the recorder answered the key
	at       time.Time         // of the last call
	lost     bool              // a call failed, or was lost, on purpose: what follows does not add up
	networks int               // made and not deleted
}

// withBody are the methods Docker sends a body with.
func withBody(method string) bool {
	return method != "Plugin.Activate" && !strings.HasSuffix(method, ".GetCapabilities") && !strings.HasSuffix(method, ".GetDefaultAddressSpaces")
}

// play sends one call; false ends the recording.
func (r *replay) play(line recording) bool {
	r.Helper()
	if !r.at.IsZero() {
		r.clock.advance(line.At.Sub(r.at)) // with the plugin away a call costs Docker 15 s
	}
	r.at = line.At
	switch held := strings.HasPrefix(r.scenario, "duplicate-"); {
	case line.Status == 0, line.refused() != "" && !held && line.Request != nil:
		r.lost = true // on purpose
		return true
	case line.Request == nil && withBody(line.Method):
		if got, _ := r.send(line.Method, nil); got.status != http.StatusBadRequest {
			r.Errorf("%s without a body: status %d, want 400", line.Method, got.status)
		}
		return true
	case line.refused() != "":
		if _, err := r.call(line.Method, r.translate(line.Request)); err == nil {
			r.Errorf("%s %v was granted, want it refused: %s", line.Method, line.Request, line.refused())
		}
		r.lost = true
		return true
	}
	got, err := r.ask(line)
	if words := refusals[r.scenario]; err != nil && words != "" && strings.Contains(err.Error(), words) {
		return false
	}
	if err != nil && got.status != http.StatusNotFound {
		r.Fatalf("%s %v: %v", line.Method, line.Request, err)
	}
	if got.status == http.StatusNotFound && !strings.HasSuffix(line.Method, "ExternalConnectivity") {
		r.Fatalf("%s is not implemented", line.Method)
	}
	r.note(line, got)
	return true
}

func (r *replay) ask(line recording) (answer, error) {
	if line.Request == nil {
		return r.send(line.Method, nil)
	}
	return r.call(line.Method, r.translate(line.Request))
}

// note remembers what Docker will say again.
func (r *replay) note(line recording, got answer) {
	same := func(field, ours string) {
		if theirs, _ := line.Response[field].(string); theirs != "" {
			r.ours[theirs] = ours
			theirs, _, _ := strings.Cut(theirs, "/")
			r.ours[theirs], _, _ = strings.Cut(ours, "/")
		}
	}
	switch line.Method {
	case "IpamDriver.RequestPool":
		r.ours[line.Response["PoolID"].(string)] = got.PoolID
		r.ours[line.Response["Pool"].(string)] = got.Pool
	case "IpamDriver.RequestAddress":
		same("Address", got.Address)
	case "NetworkDriver.CreateNetwork":
		r.networks++
	case "NetworkDriver.DeleteNetwork":
		r.networks--
	}
}

// translate puts this plugin's answers in place of the recorder's, and names
// a parent, which the recorder did not need.
func (r *replay) translate(value any) any {
	switch v := value.(type) {
	case string:
		if ours, ok := r.ours[v]; ok {
			return ours
		}
	case []any:
		for i := range v {
			v[i] = r.translate(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = r.translate(v[key])
		}
		if options, ok := v[plugin.KeyGeneric].(map[string]any); ok {
			options["parent"] = "eth1"
		}
	}
	return value
}

// end wants nothing left where Docker removed everything it made.
func (r *replay) end() {
	r.Helper()
	if r.networks == 0 && !r.lost {
		r.nothingLeft()
	}
}
