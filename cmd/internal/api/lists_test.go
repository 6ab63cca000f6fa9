package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"reflect"
	"testing"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/dns/listen"
	"gvlan/driver/command"
	"gvlan/driver/network"
	"gvlan/ipam/evict"
)

// shapes are the answers there are.
func shapes() []any {
	return []any{
		[]api.NetworkView(nil), []api.NetworkView{{Hosts: []api.NetworkHost{{}}}}, []api.NodeView(nil), []api.NodeView{{Swarm: new(api.NodeView)}},
		[]api.MemberView{{}}, []api.NameView{{}}, []api.NameCounts{{}}, []string(nil), []config.Shown(nil),
		api.Status{}, api.Status{Networks: []api.NetworkStatus{{}}}, api.StoreView{}, api.StoreView{Members: []api.StoreMember{{}}},
		api.JoinLine{}, api.StoreLeft{}, api.StoreBegun{}, api.Backup{}, api.Restored{}, api.AuthorityRotation{}, api.Recovered{}, api.StoreReads{},
		api.Looked{}, evict.Taken{}, listen.Setup{}, command.Defined{}, network.Imported{}, struct{}{},
	}
}

// TestListsAreLists: over the socket, a list is [] and no null, how deep it lies.
func TestListsAreLists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	server, err := api.NewServer(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var shape any
	server.Handle("GET /v1/shape", func(*http.Request) (any, error) { return shape, nil })
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	for _, shape = range shapes() {
		var raw json.RawMessage
		if err := api.NewClient(path).Get(ctx, "/v1/shape", &raw); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("null")) && !mayBeNull(reflect.TypeOf(shape)) {
			t.Errorf("%T is %s, want no null in it", shape, raw)
		}
		back := reflect.New(reflect.TypeOf(shape))
		if err := json.Unmarshal(raw, back.Interface()); err != nil {
			t.Errorf("%T is not read back: %v", shape, err)
		}
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// mayBeNull reports whether null says something in a shape: how many endpoints a
// node has is not known while etcd is away.
func mayBeNull(shape reflect.Type) bool { return shape == reflect.TypeFor[[]api.NodeView]() }

// TestWithListsTouchesNothing: what it is made of belongs to parts of the agent
// that run.
func TestWithListsTouchesNothing(t *testing.T) {
	view := []api.NetworkView{{Hosts: []api.NetworkHost{{}}, Options: map[string]string{"a": "b"}}}
	made := api.WithLists(view).([]api.NetworkView)
	if view[0].Pools != nil || view[0].Hosts[0].Links != nil || made[0].Pools == nil || made[0].Hosts[0].Links == nil {
		t.Errorf("%+v became %+v", view, made)
	}
	if made[0].Options["a"] != "b" || api.WithLists(nil) != nil {
		t.Error("what is no list is lost")
	}
}
