package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// pools hands out addresses. A pool's id is "SUBNET RANGE NUMBER": nothing has to be
// remembered of a pool after a restart.
type pools struct {
	made int                                  // pools so far, to number them
	used map[netip.Prefix]map[netip.Addr]bool // by subnet
}

func newPools() *pools { return &pools{used: map[netip.Prefix]map[netip.Addr]bool{}} }

func (p *pools) calls() map[string]call {
	return map[string]call{
		"GetCapabilities": func([]byte) (any, error) {
			return map[string]bool{"RequiresMACAddress": false, "RequiresRequestReplay": false}, nil
		},
		"GetDefaultAddressSpaces": func([]byte) (any, error) {
			return map[string]string{"LocalDefaultAddressSpace": "reclocal", "GlobalDefaultAddressSpace": "recglobal"}, nil
		},
		"RequestPool":    p.requestPool,
		"ReleasePool":    func([]byte) (any, error) { return struct{}{}, nil },
		"RequestAddress": p.requestAddress,
		"ReleaseAddress": p.releaseAddress,
	}
}

func (p *pools) requestPool(body []byte) (any, error) {
	var req struct {
		Pool, SubPool string
		V6            bool
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	p.made++
	if req.Pool == "" {
		req.Pool = fmt.Sprintf("10.97.%d.0/24", p.made)
		if req.V6 {
			req.Pool = fmt.Sprintf("fd97:%d::/64", p.made)
		}
	}
	subnet, err := netip.ParsePrefix(req.Pool)
	if err != nil {
		return nil, fmt.Errorf("parse pool: %w", err)
	}
	if req.SubPool == "" {
		req.SubPool = subnet.Masked().String()
	}
	id := fmt.Sprintf("%s %s %d", subnet.Masked(), req.SubPool, p.made)
	return map[string]any{"PoolID": id, "Pool": subnet.Masked().String(), "Data": map[string]string{}}, nil
}

func parsePool(id string) (subnet, within netip.Prefix, err error) {
	fields := strings.Fields(id)
	if len(fields) != 3 {
		return subnet, within, fmt.Errorf("pool id %q is not ours", id)
	}
	if subnet, err = netip.ParsePrefix(fields[0]); err != nil {
		return subnet, within, fmt.Errorf("parse pool id: %w", err)
	}
	if within, err = netip.ParsePrefix(fields[1]); err != nil {
		return subnet, within, fmt.Errorf("parse pool id: %w", err)
	}
	return subnet, within, nil
}

func (p *pools) requestAddress(body []byte) (any, error) {
	var req struct{ PoolID, Address string }
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	subnet, within, err := parsePool(req.PoolID)
	if err != nil {
		return nil, err
	}
	used := p.used[subnet]
	if used == nil {
		used = map[netip.Addr]bool{}
		p.used[subnet] = used
	}
	addr := within.Masked().Addr()
	if req.Address != "" {
		if addr, err = netip.ParseAddr(req.Address); err != nil {
			return nil, fmt.Errorf("parse address: %w", err)
		}
		if used[addr] {
			return nil, fmt.Errorf("address %s is taken", addr)
		}
	}
	for used[addr] || addr == subnet.Addr() {
		addr = addr.Next()
	}
	used[addr] = true
	return map[string]any{"Address": netip.PrefixFrom(addr, subnet.Bits()).String(), "Data": map[string]string{}}, nil
}

func (p *pools) releaseAddress(body []byte) (any, error) {
	var req struct{ PoolID, Address string }
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	subnet, _, err := parsePool(req.PoolID)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(req.Address); err == nil {
		delete(p.used[subnet], addr)
	}
	return struct{}{}, nil
}
