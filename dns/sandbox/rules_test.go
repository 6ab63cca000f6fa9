package sandbox

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gvlan/dns/dnstest"
)

// TestRules compares the table with what nft makes of it, and holds a beat
// to refreshing an element that is there, one that expired, and none.
func TestRules(t *testing.T) {
	box, r := newRuled(t)
	want := `table ip gvlan_dns {
	set live {
		type ipv4_addr
		flags timeout
		elements = { 127.0.0.11 timeout 3s expires ... }
	}

	map ports {
		type ipv4_addr . inet_service . inet_proto : inet_service
		size 65536
		flags dynamic,timeout
		timeout 20s
	}

	chain input {
		type filter hook input priority 1000; policy accept;
		ip daddr @live ct original ip daddr 127.0.0.11 ct original proto-dst 53 ct original ip saddr != 127.0.0.12 update @ports { ip saddr . udp sport . meta l4proto : udp dport } udp dport set 1001
		ip daddr @live ct original ip daddr 127.0.0.11 ct original proto-dst 53 ct original ip saddr != 127.0.0.12 update @ports { ip saddr . tcp sport . meta l4proto : tcp dport } tcp dport set 1002
	}

	chain output {
		type filter hook output priority -1000; policy accept;
		ip saddr 127.0.0.11 udp sport 1001 udp sport set ip daddr . udp dport . meta l4proto map @ports
		ip saddr 127.0.0.11 tcp sport 1002 tcp sport set ip daddr . tcp dport . meta l4proto map @ports
	}
}
`
	if got := withoutExpiry(box.Run("nft", "list", "ruleset")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	checkChecksums(t, box)
	dnstest.Eventually(t, "half of the time passes", func() bool { return strings.Contains(box.Run("nft", "list", "ruleset"), "expires 1s") })
	if err := r.beat(); err != nil {
		t.Fatal(err)
	}
	// 3s right away, 2s and some milliseconds later.
	if got := box.Run("nft", "list", "ruleset"); !strings.Contains(got, "expires 3s") && !strings.Contains(got, "expires 2s") {
		t.Errorf("a beat did not refresh the element:\n%s", got)
	}
	box.NFT("flush set ip gvlan_dns live")
	if err := r.beat(); err != nil {
		t.Fatalf("beat after the element expired: %v", err)
	}
	if got := withoutExpiry(box.Run("nft", "list", "ruleset")); got != want {
		t.Errorf("after the element expired: got\n%s", got)
	}
	box.NFT("flush ruleset")
	if err := r.beat(); err == nil {
		t.Error("a beat without a table succeeded")
	}
	if err := r.remove(); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}

// checkChecksums looks for the right place of each protocol's checksum,
// which nft does not print and a loopback does not miss.
func checkChecksums(t *testing.T, box *dnstest.Sandbox) {
	t.Helper()
	var got []string
	for _, line := range strings.Split(box.Run("nft", "--debug=netlink", "list", "table", "ip", tableName), "\n") {
		if _, checksum, ok := strings.Cut(line, "@ transport header + "); ok && strings.Contains(line, "payload write") {
			got = append(got, strings.TrimSuffix(checksum, " ]"))
		}
	}
	want := []string{
		"2 csum_type 1 csum_off 6 csum_flags 0x0", "2 csum_type 1 csum_off 16 csum_flags 0x0",
		"0 csum_type 1 csum_off 6 csum_flags 0x0", "0 csum_type 1 csum_off 16 csum_flags 0x0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("ports are written as %q, want %q", got, want)
	}
}

func newRuled(t testing.TB) (*dnstest.Sandbox, *rules) {
	t.Helper()
	box := dnstest.NewSandbox(t)
	var r *rules
	box.Do(func() (err error) { r, err = newRules(); return err })
	if err := r.install(1001, 1002); err != nil {
		t.Fatal(err)
	}
	return box, r
}

func withoutExpiry(ruleset string) string {
	before, rest, ok := strings.Cut(ruleset, "expires ")
	if !ok {
		return ruleset
	}
	_, after, _ := strings.Cut(rest, " ")
	return before + "expires ... " + after
}

func TestAcknowledged(t *testing.T) {
	ack := func(code int32) []byte {
		raw := make([]byte, unix.SizeofNlMsghdr+4)
		raw[0], raw[4] = byte(len(raw)), unix.NLMSG_ERROR
		for i := range 4 {
			raw[unix.SizeofNlMsghdr+i] = byte(uint32(code) >> (8 * i))
		}
		return raw
	}
	if err := acknowledged(append(ack(0), ack(0)...)); err != nil {
		t.Errorf("two acknowledgements: %v", err)
	}
	if err := acknowledged(append(ack(0), ack(-int32(unix.ENOENT))...)); !errors.Is(err, unix.ENOENT) {
		t.Errorf("an error after an acknowledgement: %v", err)
	}
	if err := acknowledged([]byte{255, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}); err == nil {
		t.Error("an answer cut short was taken")
	}
}

// BenchmarkBeat is what keeping one sandbox alive costs each second.
func BenchmarkBeat(b *testing.B) {
	_, r := newRuled(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.beat(); err != nil {
			b.Fatal(err)
		}
	}
}
