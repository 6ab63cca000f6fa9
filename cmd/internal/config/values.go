package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"gvlan/driver/bgp/peer"
)

// assign parses text into the field of Config that into points to. Every
// source of settings ends here, so that one spelling holds for all of them.
func assign(into any, text string) (err error) {
	switch into := into.(type) {
	case *string:
		*into = text
	case *bool:
		*into, err = parseSwitch(text)
	case *uint16:
		*into, err = parsePort(text)
	case *Protocol:
		*into, err = parseProtocol(text)
	case *peer.AS:
		*into = 0
		if text != "" {
			*into, err = peer.ParseAS(text)
		}
	case *[]peer.Peer:
		*into, err = parseEach(text, between(into), peer.Parse)
	case *Table:
		*into, err = parseTable(text)
	case *time.Duration:
		*into, err = parseDuration(text)
	case *[]string:
		*into = items(text, between(into))
	case *[]netip.Prefix:
		*into, err = parseEach(text, between(into), parsePrefix)
	case *[]Block:
		*into, err = parseEach(text, between(into), parseBlock)
	default:
		panic(fmt.Sprintf("options table: no parser for %T", into))
	}
	return err
}

// between is what parts the items of a list in one line: a peer has commas itself.
func between(list any) string {
	if _, peers := list.(*[]peer.Peer); peers {
		return ";"
	}
	return ","
}

// items splits a list; spaces and empty items do not count.
func items(text, between string) []string {
	var list []string
	for _, item := range strings.Split(text, between) {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

func parseEach[T any](text, between string, parse func(string) (T, error)) ([]T, error) {
	var list []T
	for _, item := range items(text, between) {
		value, err := parse(item)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, nil
}

func parseSwitch(text string) (bool, error) {
	switch text {
	case "on", "true":
		return true, nil
	case "off", "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither on nor off", text)
}

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is no port: give a number from 1 to 65535", text)
	}
	return uint16(port), nil
}

// Numbers below are the kernel's own and those of the oldest daemons.
const firstProtocol = 64

func parseProtocol(text string) (Protocol, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n < firstProtocol {
		return 0, fmt.Errorf("%q is no number of a route protocol: give one from %d to 255 that no daemon of this host uses", text, firstProtocol)
	}
	return Protocol(n), nil
}

// Tables that the kernel has of its own (rtnetlink(7)): unspecified, default, local.
const tableMain = 254

func parseTable(text string) (Table, error) {
	if text == "main" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	switch {
	case err != nil || n == 0 || n == 253 || n == 255:
		return 0, fmt.Errorf("%q is no routing table for it: give main, or a number from 1 to 4294967295 but 253 (default) and 255 (local)", text)
	case n == tableMain:
		return 0, nil
	}
	return Table(n), nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration: give for example 90s or 2m", text)
	}
	return d, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no prefix: give for example 192.168.1.0/24", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length: give %s", text, p.Masked())
	}
	return p, nil
}

// parseBlock reads PREFIX:BITS, as 172.20.0.0/14:16 for 172.20.0.0/14 given
// out in subnets of 16 bits.
func parseBlock(text string) (Block, error) {
	slash, cut := strings.IndexByte(text, '/'), strings.LastIndexByte(text, ':')
	if slash < 0 || cut < slash { // a colon before the slash is an IPv6 address's
		return Block{}, fmt.Errorf("%q does not say how large its subnets are: give for example 172.20.0.0/14:16", text)
	}
	base, err := parsePrefix(text[:cut])
	if err != nil {
		return Block{}, err
	}
	bits, err := strconv.Atoi(text[cut+1:])
	if err != nil || bits < base.Bits() || bits > base.Addr().BitLen()-2 {
		return Block{}, fmt.Errorf("%q: subnets of %s need between %d and %d bits", text, base, base.Bits(), base.Addr().BitLen()-2)
	}
	return Block{Base: base, Bits: bits}, nil
}
