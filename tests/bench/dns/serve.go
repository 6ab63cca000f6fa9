package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	miekg "github.com/miekg/dns"

	"gvlan/cluster/store"
	"gvlan/dns/listen"
	"gvlan/dns/zone"
)

// The content of the zone under load.
const (
	names   = 10_000
	network = "lan1"
	node    = "h1"
)

func nameOf(i int) string { return fmt.Sprintf("container-%05d", i) }

func addrOf(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(1 + i>>16), byte(i >> 8), byte(i)})
}

// fill gives a zone one network with n containers, as the store's first
// list would.
func fill(zone *zone.Zone, n int) {
	def := store.Network{UUID: network, Name: network, State: store.NetworkActive}
	def.Created.Pools = []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/8")}}
	zone.ApplyNetworks(store.Change{Reset: true, Items: []store.Item{{Key: store.NetworkKey(network), Value: store.Encode(def), Modified: 1}}})
	items := make([]store.Item, n)
	for i := range items {
		items[i] = item(i)
	}
	zone.ApplyEndpoints(store.Change{Reset: true, Items: items})
}

func item(i int) store.Item {
	id := fmt.Sprintf("%064x", i)
	e := store.Endpoint{
		Endpoint: id, Node: node, Network: network, Name: network, IPv4: addrOf(i).String() + "/8",
		Container: store.Container{ID: fmt.Sprintf("%012x%052x", i, i), Name: nameOf(i)},
	}
	return store.Item{Key: store.EndpointKey(node, id), Value: store.Encode(e), Modified: store.Revision(i + 2)}
}

// serve answers as one of the servers until standard input ends.
func serve(kind, address string) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { io.Copy(io.Discard, os.Stdin); cancel() }()
	packets, streams, err := listen.Open(ctx, address)
	if err != nil {
		return err
	}
	fmt.Println(streams[0].Addr())
	if kind == "bare" {
		return bare(ctx, packets)
	}
	zone, err := zone.New(zone.Config{Node: node})
	if err != nil {
		return err
	}
	fill(zone, names)
	return listen.New(listen.Config{Zone: zone}).Serve(ctx, packets, streams)
}

// bare answers every question with one address, and does nothing else.
func bare(ctx context.Context, packets []*net.UDPConn) error {
	handler := miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) {
		m := new(miekg.Msg).SetReply(q)
		m.Answer = []miekg.RR{&miekg.A{
			Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 5},
			A:   net.IPv4(10, 1, 0, 1),
		}}
		w.WriteMsg(m)
	})
	for _, conn := range packets {
		go (&miekg.Server{PacketConn: conn, Handler: handler}).ActivateAndServe()
	}
	<-ctx.Done()
	return nil
}

// coreFile makes CoreDNS answer the same names with its hosts plugin.
func coreFile(dir, port string) (string, error) {
	var hosts strings.Builder
	for i := range names {
		fmt.Fprintf(&hosts, "%s %s\n", addrOf(i), question(i))
	}
	if err := os.WriteFile(dir+"/hosts", []byte(hosts.String()), 0o600); err != nil {
		return "", err
	}
	path := dir + "/Corefile"
	return path, os.WriteFile(path, fmt.Appendf(nil, ".:%s {\n bind 127.0.0.1\n hosts %s/hosts\n}\n", port, dir), 0o600)
}

func question(i int) string { return nameOf(i) + "." + network + ".gvlan.internal" }
