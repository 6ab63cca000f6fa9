package kernel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"

	"gvlan/tests/lab"
)

// place is a network namespace to look from: a host's or a container's.
type place struct {
	name string
	ns   string // file of the namespace
	host *lab.Machine
}

func hostPlace(m *lab.Machine) place {
	return place{name: m.Name, ns: fmt.Sprintf("/proc/%d/ns/net", m.PID), host: m}
}

// try runs a program there; its output is that of both streams.
func (p place) try(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := p.start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	return strings.TrimSpace(out.String()), err
}

// start starts a program there. What a thread starts is where the thread is,
// which spares this slow kernel a program of its own for that.
func (p place) start(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		started <- func() error {
			ns, err := netns.GetFromPath(p.ns)
			if err != nil {
				return fmt.Errorf("open network namespace of %s: %w", p.name, err)
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				return fmt.Errorf("enter network namespace of %s: %w", p.name, err)
			}
			return cmd.Start()
		}()
	}()
	return <-started
}

// sh runs shell commands there: on a machine with its files and processes, in
// a container's network with ours.
func (p place) sh(ctx context.Context, script string) (string, error) {
	if p.name == p.host.Name {
		return p.host.Exec(ctx, "sh", "-c", script)
	}
	return p.try(ctx, "sh", "-c", script)
}

// ipLink is one link as `ip -d -j link` shows it.
type ipLink struct {
	Index   int    `json:"ifindex"`
	Name    string `json:"ifname"`
	On      string `json:"link"`       // what it hangs from, in its own namespace
	OnIndex int    `json:"link_index"` // likewise, in another
	Flags   []string
	MTU     int
	MAC     string `json:"address"`
	Alias   string `json:"ifalias"`
	Info    struct {
		Kind string `json:"info_kind"`
		Data struct {
			Mode                  string   // macvlan, ipvlan
			Bridge, Private, VEPA bool     // ipvlan
			Protocol              string   // vlan
			ID                    int      // vlan
			Flags                 []string // vlan
		} `json:"info_data"`
	} `json:"linkinfo"`
}

func (p place) links(ctx context.Context) ([]ipLink, error) {
	out, err := p.try(ctx, "ip", "-d", "-j", "link")
	if err != nil {
		return nil, fmt.Errorf("list links of %s: %w: %s", p.name, err, out)
	}
	var all []ipLink
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("list links of %s: %w: %s", p.name, err, out)
	}
	return all, nil
}

func (p place) link(ctx context.Context, name string) (ipLink, error) {
	all, err := p.links(ctx)
	if err != nil {
		return ipLink{}, err
	}
	at := slices.IndexFunc(all, func(l ipLink) bool { return l.Name == name })
	if at < 0 {
		return ipLink{}, fmt.Errorf("%s has no link %s", p.name, name)
	}
	return all[at], nil
}

// describe says what a link is, as in "vlan 802.1Q id 50 <REORDER_HDR> on
// eth0" or "ipvlan l2 bridge on eth0.20".
func (p place) describe(ctx context.Context, l ipLink) (string, error) {
	words := []string{l.Info.Kind}
	data := l.Info.Data
	switch l.Info.Kind {
	case "macvlan":
		words = append(words, data.Mode)
	case "ipvlan":
		words = append(words, data.Mode)
		for name, set := range map[string]bool{"bridge": data.Bridge, "private": data.Private, "vepa": data.VEPA} {
			if set {
				words = append(words, name)
			}
		}
	case "vlan":
		words = append(words, data.Protocol, "id", strconv.Itoa(data.ID), "<"+strings.Join(data.Flags, ",")+">")
	}
	parent := l.On
	if parent == "" && l.OnIndex != 0 {
		there, err := hostPlace(p.host).links(ctx)
		if err != nil {
			return "", err
		}
		for _, above := range there {
			if above.Index == l.OnIndex {
				parent = above.Name
			}
		}
	}
	if strings.HasPrefix(parent, "gvd-") {
		parent = "a dummy of ours"
	}
	if parent != "" {
		words = append(words, "on", parent)
	}
	return strings.Join(words, " "), nil
}

// routes are the lines of `ip route`, without what the documents leave out.
func (p place) routes(ctx context.Context, family string) ([]string, error) {
	out, err := p.try(ctx, "ip", family, "route")
	if err != nil {
		return nil, fmt.Errorf("list routes of %s: %w: %s", p.name, err, out)
	}
	var lines []string
	for line := range strings.Lines(out) {
		var words []string
		all := strings.Fields(line)
		for i := 0; i < len(all); i++ {
			switch all[i] {
			case "proto", "scope", "metric", "pref":
				i++
			default:
				words = append(words, all[i])
			}
		}
		if route := strings.Join(words, " "); !strings.HasPrefix(route, "fe80::/64 ") {
			lines = append(lines, route)
		}
	}
	return lines, nil
}
