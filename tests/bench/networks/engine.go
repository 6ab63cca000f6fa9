package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"gvlan/driver/engine"
	"gvlan/tests/lab"
)

// emptyPlugin is the name of a driver that does nothing.
const emptyPlugin = "empty"

// answerEmpty serves a driver and IPAM driver that agree to all they are asked:
// what is left of a network's cost is the engine's own.
func answerEmpty(w http.ResponseWriter, r *http.Request) {
	var asked struct{ Pool, PoolID string }
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil && r.ContentLength > 0 {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := map[string]any{}
	switch r.URL.Path {
	case "/Plugin.Activate":
		answer["Implements"] = []string{"NetworkDriver", "IpamDriver"}
	case "/NetworkDriver.GetCapabilities":
		answer["Scope"] = "local"
	case "/IpamDriver.GetDefaultAddressSpaces":
		answer["LocalDefaultAddressSpace"], answer["GlobalDefaultAddressSpace"] = "local", "global"
	case "/IpamDriver.RequestPool":
		answer["Pool"], answer["PoolID"] = asked.Pool, asked.Pool
	case "/IpamDriver.RequestAddress": // the gateway's
		subnet, err := netip.ParsePrefix(asked.PoolID)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer["Address"] = netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits()).String()
	}
	w.Header().Set("Content-Type", "application/vnd.docker.plugins.v1.1+json")
	_ = json.NewEncoder(w).Encode(answer)
}

// engineAlone measures the same networks on an engine whose driver does nothing.
func engineAlone(ctx context.Context, h *lab.Host, networks int) (_ time.Duration, err error) {
	folder := h.Path("/run/docker/plugins")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return 0, err
	}
	socket, err := net.Listen("unix", filepath.Join(folder, emptyPlugin+".sock"))
	if err != nil {
		return 0, err
	}
	server := http.Server{Handler: http.HandlerFunc(answerEmpty)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(socket) }()
	defer func() {
		err = errors.Join(err, server.Close())
		if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
	}()
	began := time.Now()
	err = define(ctx, h, networks, emptyPlugin)
	return time.Since(began), err
}

// counting counts the networks that an engine makes. To ask the agent again and
// again would take a part of what is measured.
type counting struct {
	made chan struct{}
	stop context.CancelFunc
	done chan error
}

// count follows an engine's events until close.
func count(ctx context.Context, h *lab.Host, most int) (*counting, error) {
	e, err := engine.New(engine.Config{Socket: h.Engine.Socket()})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	c := &counting{made: make(chan struct{}, most), stop: stop, done: make(chan error, 1)}
	connected := make(chan struct{}, 1)
	go func() {
		defer e.Close()
		c.done <- e.Watch(ctx, func(ev engine.Event) {
			to := c.made
			switch {
			case ev.Kind == engine.KindStream && ev.Action == engine.ActionConnected:
				to = connected
			case ev.Kind != engine.KindNetwork || ev.Action != engine.ActionCreate:
				return
			}
			select {
			case to <- struct{}{}:
			default:
			}
		})
	}()
	select {
	case <-connected:
		return c, nil
	case err := <-c.done:
		stop()
		return nil, fmt.Errorf("follow the events of %s: %w", h.Name, err)
	}
}

// await waits for that many networks.
func (c *counting) await(ctx context.Context, networks int) error {
	for range networks {
		select {
		case <-c.made:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *counting) close() {
	c.stop()
	<-c.done
}
