package store

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The folders of the store. This file is the only place that knows them.
const (
	metaKey          = "/meta"
	networksFolder   = "/networks/"
	tombstonesFolder = "/tombstones/"
	removalsFolder   = "/removals/"
	leasesFolder     = "/leases/"
	conflictsFolder  = "/conflicts/"
	defaultsFolder   = "/defaults/"
	epochsFolder     = "/epochs/"
	nodesFolder      = "/nodes/"
	liveFolder       = "/live/"
	endpointsFolder  = "/endpoints/"
	macsFolder       = "/macs/"
	refsFolder       = "/refs/"
	quarantineFolder = "/quarantines/"
	restEnding       = "/rest"
	cooldownEnding   = "/cooldown"
	reservedFolder   = "/reservations/"
	gossipKeysKey    = "/gossip-keys"
	lastFolder       = "/last/"
	recoveryFolder   = "/recovery/"
	reassertedFolder = recoveryFolder + "nodes/"
	// trailFolder sorts after every folder that something depends on: one span
	// covers those.
	trailFolder = "/trail/"
	wentPart    = "went-"

	ownFolder          = "/store/"
	membersFolder      = ownFolder + "members/"
	certificatesFolder = ownFolder + "certificates/"
	sizeKey            = ownFolder + "size"
	joinSecretKey      = ownFolder + "secret"
	rootsKey           = ownFolder + "roots"
	lifeKey            = ownFolder + "life"
)

// Docker takes any text as a name, so a name that becomes a part of a key is
// escaped: "/" would end the part early, and "%" begins an escape. Every other
// name is its own part.
var (
	escape   = strings.NewReplacer("%", "%25", "/", "%2F")
	unescape = strings.NewReplacer("%25", "%", "%2F", "/")
)

// part is outside text as one part of a key.
func part(text string) string { return escape.Replace(text) }

// MetaKey holds the Meta record.
func MetaKey() string { return metaKey }

// NetworkKey holds the Network record of that name.
func NetworkKey(name string) string { return networksFolder + part(name) }

// TombstoneKey holds the Tombstone of a removed definition.
func TombstoneKey(uuid string) string { return tombstonesFolder + uuid }

// RemovalKey holds one node's Removal answer for a definition in removal.
func RemovalKey(uuid, node string) string { return removalsFolder + uuid + "/" + part(node) }

// EpochKey holds the node's Epoch, the only key writes are fenced on.
func EpochKey(node string) string { return epochsFolder + part(node) }

// NodeKey holds the node's Node record: description, never compared.
func NodeKey(node string) string { return nodesFolder + part(node) }

// LiveKey holds the node's Live record while its agent is connected.
func LiveKey(node string) string { return liveFolder + part(node) }

// EndpointKey holds one Endpoint of a node.
func EndpointKey(node, endpoint string) string {
	return endpointsFolder + part(node) + "/" + part(endpoint)
}

// EndpointOf is the inverse of EndpointKey.
func EndpointOf(key string) (node, endpoint string, ok bool) {
	rest, ok := strings.CutPrefix(key, endpointsFolder)
	node, endpoint, found := strings.Cut(rest, "/")
	return unescape.Replace(node), unescape.Replace(endpoint), ok && found
}

// EndpointNode reads the node of an EndpointKey; "" of any other key.
func EndpointNode(key string) string {
	rest, ok := strings.CutPrefix(key, endpointsFolder)
	node, _, found := strings.Cut(rest, "/")
	if !ok || !found {
		return ""
	}
	return unescape.Replace(node)
}

// MACKey holds the MAC record of a hardware address that a user gave to an
// endpoint of a segment.
func MACKey(segment, mac string) string { return macsFolder + part(segment) + "/" + part(mac) }

// RefsKey holds the node's Refs.
func RefsKey(node string) string { return refsFolder + part(node) }

// QuarantineKey holds the Quarantine of an evicted node: addresses of it may be
// in quarantine.
func QuarantineKey(node string) string { return quarantineFolder + part(node) }

// RestKey is there while an evicted node's addresses rest. It hangs from an etcd
// lease, so that no host's clock says when that is over.
func RestKey(node string) string { return QuarantineKey(node) + restEnding }

// QuarantinesSpan covers both keys of every evicted node.
func QuarantinesSpan() Span { return Prefix(quarantineFolder) }

// GossipKeysKey holds the GossipKeys of the cluster.
func GossipKeysKey() string { return gossipKeysKey }

// LastKey is put by every transaction of the node's that changes something. Its
// value says nothing: it was last modified by the node's last write, and going
// back is the proof that the store lost that.
func LastKey(node string) string { return lastFolder + part(node) }

// GateKey holds the Gate while it is closed.
func GateKey() string { return recoveryFolder + "gate" }

// RecoveryKey holds the last Recovery.
func RecoveryKey() string { return recoveryFolder + "done" }

// CautionKey is there for a while after a recovery.
func CautionKey() string { return recoveryFolder + "caution" }

// ReassertedKey holds the node's Reasserted.
func ReassertedKey(node string) string { return reassertedFolder + part(node) }

// TrailKey holds the node's Trail of that number.
func TrailKey(node string, number int64) string {
	return trailFolder + part(node) + "/" + fmt.Sprintf("%012x", number)
}

// TrailNumber reads the number of a TrailKey; ok is false for a TrailEndKey.
func TrailNumber(key string) (number int64, ok bool) {
	number, err := strconv.ParseInt(NameOf(key), 16, 64)
	return number, err == nil
}

// TrailEndKey holds the Trail that says that the node went whose LiveKey was
// created at a revision. Whoever sees it go may write it, once.
func TrailEndKey(node string, live Revision) string {
	return trailFolder + part(node) + "/" + wentPart + fmt.Sprintf("%016x", int64(live))
}

// TrailsSpan covers what every node tells of what happened.
func TrailsSpan() Span { return Prefix(trailFolder) }

// TrailSpan covers what one node tells, and others of its going.
func TrailSpan(node string) Span { return Prefix(trailFolder + part(node) + "/") }

// DefaultPoolKey holds the DefaultPool record of a subnet that was taken
// from the default pools.
func DefaultPoolKey(subnet netip.Prefix) string {
	return defaultsFolder + family(subnet.Addr()) + hexAddr(subnet.Masked().Addr())
}

// LeaseKey holds the Lease of an address in a segment. The address is
// written in fixed-width hexadecimal below its family, so that the order of
// keys is the order of addresses.
func LeaseKey(segment string, addr netip.Addr) string {
	return leasesFolder + part(segment) + "/" + family(addr) + hexAddr(addr)
}

// CooldownKey is there while an address rests that a container gave back. It
// hangs from an etcd lease, so that no host's clock says when that is over.
func CooldownKey(segment string, addr netip.Addr) string {
	return LeaseKey(segment, addr) + cooldownEnding
}

// CooldownOf is the inverse of CooldownKey; ok is false for any other key.
func CooldownOf(key string) (segment string, addr netip.Addr, ok bool) {
	lease, ok := strings.CutSuffix(key, cooldownEnding)
	if !ok {
		return "", netip.Addr{}, false
	}
	segment, addr, err := LeaseOf(lease)
	return segment, addr, err == nil
}

// ConflictKey holds the Conflict of an address in a segment.
func ConflictKey(segment string, addr netip.Addr) string {
	return conflictsFolder + part(segment) + "/" + family(addr) + hexAddr(addr)
}

// ConflictsSpan covers every Conflict.
func ConflictsSpan() Span { return Prefix(conflictsFolder) }

// LeaseOf is the inverse of LeaseKey.
func LeaseOf(key string) (segment string, addr netip.Addr, err error) {
	if segment, addr, err = placeOf(leasesFolder, key); err != nil {
		err = fmt.Errorf("read lease key %q: %w", key, err)
	}
	return segment, addr, err
}

// ReservationKey holds the Reservation of an address in a segment, written as in
// its LeaseKey.
func ReservationKey(segment string, addr netip.Addr) string {
	return reservedFolder + part(segment) + "/" + family(addr) + hexAddr(addr)
}

// ReservationOf is the inverse of ReservationKey.
func ReservationOf(key string) (segment string, addr netip.Addr, err error) {
	if segment, addr, err = placeOf(reservedFolder, key); err != nil {
		err = fmt.Errorf("read reservation key %q: %w", key, err)
	}
	return segment, addr, err
}

// ReservationsSpan covers the reservations of every segment.
func ReservationsSpan() Span { return Prefix(reservedFolder) }

// SegmentReservationsSpan covers those of one segment.
func SegmentReservationsSpan(segment string) Span {
	return Prefix(reservedFolder + part(segment) + "/")
}

// placeOf reads the rest of a key in a folder: segment, family and address.
func placeOf(folder, key string) (segment string, addr netip.Addr, err error) {
	rest, ok := strings.CutPrefix(key, folder)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return "", netip.Addr{}, fmt.Errorf("want %s<segment>/<family>/<hex>", folder)
	}
	raw, err := hex.DecodeString(parts[2])
	if err != nil {
		return "", netip.Addr{}, err
	}
	addr, ok = netip.AddrFromSlice(raw)
	if !ok || family(addr) != parts[1]+"/" {
		return "", netip.Addr{}, fmt.Errorf("%d bytes are no address of family %s", len(raw), parts[1])
	}
	return unescape.Replace(parts[0]), addr, nil
}

func family(addr netip.Addr) string {
	if addr.Is4() {
		return "4/"
	}
	return "6/"
}

func hexAddr(addr netip.Addr) string { return hex.EncodeToString(addr.AsSlice()) }

// MemberKey holds the Member of a node that has a place in the cluster's own
// store.
func MemberKey(node string) string { return membersFolder + part(node) }

// MembersSpan covers every member of the cluster's own store.
func MembersSpan() Span { return Prefix(membersFolder) }

// OwnSpan covers what the cluster's own store keeps of itself: members,
// certificates, roots, the join secret.
func OwnSpan() Span { return Prefix(ownFolder) }

// SizeKey holds the Size that is wanted of the cluster's own store.
func SizeKey() string { return sizeKey }

// JoinSecretKey holds the JoinSecret.
func JoinSecretKey() string { return joinSecretKey }

// LifeKey holds the Life; absent in the first.
func LifeKey() string { return lifeKey }

// RootsKey holds the Roots.
func RootsKey() string { return rootsKey }

// CertificateKey holds the Certificate of a node with that serial number.
func CertificateKey(node, serial string) string {
	return certificatesFolder + part(node) + "/" + part(serial)
}

// NodeCertificatesSpan covers the certificates of one node.
func NodeCertificatesSpan(node string) Span { return Prefix(certificatesFolder + part(node) + "/") }

// CertificatesSpan covers the certificates of every node.
func CertificatesSpan() Span { return Prefix(certificatesFolder) }

// NetworksSpan covers every definition.
func NetworksSpan() Span { return Prefix(networksFolder) }

// TombstonesSpan covers every tombstone.
func TombstonesSpan() Span { return Prefix(tombstonesFolder) }

// RemovalsSpan covers every node's answer to every removal.
func RemovalsSpan() Span { return Prefix(removalsFolder) }

// RemovalSpan covers every node's answer to one removal.
func RemovalSpan(uuid string) Span { return Prefix(removalsFolder + uuid + "/") }

// NodesSpan covers every node's description.
func NodesSpan() Span { return Prefix(nodesFolder) }

// LiveSpan covers every connected agent.
func LiveSpan() Span { return Prefix(liveFolder) }

// EpochsSpan covers every node's epoch.
func EpochsSpan() Span { return Prefix(epochsFolder) }

// ReassertedSpan covers every node's word that its records are back.
func ReassertedSpan() Span { return Prefix(reassertedFolder) }

// RecoverySpan covers the gate, the last recovery and the caution after it.
func RecoverySpan() Span { return Span{From: CautionKey(), To: GateKey() + "\x00"} }

// LastSpan covers every node's LastKey.
func LastSpan() Span { return Prefix(lastFolder) }

// RefsSpan covers every node's references.
func RefsSpan() Span { return Prefix(refsFolder) }

// DefaultPoolsSpan covers every subnet taken from the default pools.
func DefaultPoolsSpan() Span { return Prefix(defaultsFolder) }

// EndpointsSpan covers every endpoint of every node.
func EndpointsSpan() Span { return Prefix(endpointsFolder) }

// MACsSpan covers every hardware address that a user gave.
func MACsSpan() Span { return Prefix(macsFolder) }

// NodeEndpointsSpan covers the endpoints of one node.
func NodeEndpointsSpan(node string) Span { return Prefix(endpointsFolder + part(node) + "/") }

// AllLeasesSpan covers the leases and cooldowns of every segment.
func AllLeasesSpan() Span { return Prefix(leasesFolder) }

// SegmentSpan covers the leases and cooldowns of one segment.
func SegmentSpan(segment string) Span { return Prefix(leasesFolder + part(segment) + "/") }

// SegmentOf is the segment that a key of AllLeasesSpan is of; ok is false for a key
// that is below none.
func SegmentOf(key string) (segment string, ok bool) {
	rest, leases := strings.CutPrefix(key, leasesFolder)
	segment, _, below := strings.Cut(rest, "/")
	return unescape.Replace(segment), leases && below
}

// LeasesSpan covers the leases and cooldowns of one subnet in a segment: an
// interval of hexadecimal keys, whatever pools overlap there.
func LeasesSpan(segment string, subnet netip.Prefix) Span {
	subnet = subnet.Masked()
	return Span{
		From: LeaseKey(segment, subnet.Addr()),
		To:   LeaseKey(segment, lastAddr(subnet)) + "0", // after "/", which begins what is below a lease
	}
}

// StateSpan covers everything that says how things are, from the first key up to
// what only tells what happened.
func StateSpan() Span { return Span{From: "/", To: trailFolder} }

// Prefix is the span of every key that starts with p.
func Prefix(p string) Span {
	end := []byte(p)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return Span{From: p, To: string(end[:i+1])}
		}
	}
	return Span{From: p, To: "\xff"} // keys are text: none sorts after it
}

// Contains reports whether a key lies in the span.
func (s Span) Contains(key string) bool { return key >= s.From && key < s.To }

// MACOf is the inverse of MACKey.
func MACOf(key string) (segment, mac string, ok bool) {
	rest, ok := strings.CutPrefix(key, macsFolder)
	segment, mac, found := strings.Cut(rest, "/")
	return unescape.Replace(segment), unescape.Replace(mac), ok && found
}

// NameOf returns what ends a key, as its builder was given it: a node's id, an
// endpoint's id, a definition's uuid. A network's name stands in its record.
func NameOf(key string) string { return unescape.Replace(key[strings.LastIndexByte(key, '/')+1:]) }

// lastAddr is the highest address of a subnet.
func lastAddr(subnet netip.Prefix) netip.Addr {
	raw := subnet.Addr().AsSlice()
	for bit := subnet.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	return last
}

// RemovalOf returns the definition uuid of a removal's key, or "".
func RemovalOf(key string) string {
	rest, ok := strings.CutPrefix(key, removalsFolder)
	uuid, _, found := strings.Cut(rest, "/")
	if !ok || !found {
		return ""
	}
	return uuid
}
