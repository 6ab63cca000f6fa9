package linktest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"gvlan/driver/link"
)

// Kernel is link.Kernel in memory. Its methods may be called concurrently.
type Kernel struct {
	driver string
	host   *host
}

// host is what the Kernels of all drivers on it share.
type host struct {
	mu       sync.Mutex
	entries  map[string]*entry
	next     int
	kinds    []link.Kind
	before   func(method, name string) error
	watchers map[int]chan link.Event
}

// entry is one link.
type entry struct {
	link.Interface
	mode   link.Mode
	flag   link.Flag
	mac    net.HardwareAddr
	driver string // whose mark it carries, "" for none
	owner  string
	shim   bool
	away   int // descriptor of the namespace it was moved to, link.Current while it is here
	as     string
}

// New gives a host with nothing but a loopback, whose kernel can make links
// of these kinds; without any, of all.
func New(driver string, kinds ...link.Kind) *Kernel {
	if len(kinds) == 0 {
		kinds = []link.Kind{link.Macvlan, link.Ipvlan, link.VLAN, link.Dummy}
	}
	k := &Kernel{driver: driver, host: &host{
		entries:  make(map[string]*entry),
		kinds:    kinds,
		watchers: make(map[int]chan link.Event),
	}}
	k.Add(link.Interface{Name: "lo", Kind: "device", MTU: 65536, Up: true, Loopback: true})
	return k
}

// As gives the Kernel of another driver on the same host.
func (k *Kernel) As(driver string) *Kernel { return &Kernel{driver: driver, host: k.host} }

// Before has f called ahead of Ensure, EnsureVLANs, Remove, RemoveStale,
// Owned, Read, InUse and Interfaces, with the method and the name of the link
// or parent it is about; an error of f is the method's, and nothing happens.
func (k *Kernel) Before(f func(method, name string) error) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	k.host.before = f
}

// Add puts an interface on the host that no driver has marked, as a
// person's `ip link add` would. A zero Index, MTU and Kind are filled in.
func (k *Kernel) Add(i link.Interface) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if i.Kind == "" {
		i.Kind = "device"
	}
	if i.MTU == 0 {
		i.MTU = 1500
	}
	k.host.put(&entry{Interface: i, away: link.Current})
}

// SetUp sets an interface up or down, and with it the VLAN links on it, as
// the kernel does.
func (k *Kernel) SetUp(name string, up bool) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	k.host.setUp(name, up)
}

// AddAddress gives a link an address.
func (k *Kernel) AddAddress(name string, address netip.Prefix) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if e, ok := k.host.entries[name]; ok {
		e.Addresses = append(e.Addresses, address)
		k.host.tell(e, false)
	}
}

// SetMAC gives an interface a hardware address.
func (k *Kernel) SetMAC(name string, mac net.HardwareAddr) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if e, ok := k.host.entries[name]; ok {
		e.mac = mac
		k.host.tell(e, false)
	}
}

// Unplug removes an interface and everything that hangs from it, wherever
// that was moved to.
func (k *Kernel) Unplug(name string) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	k.host.drop(name)
}

// Move puts a link into the namespace with descriptor fd under another name,
// as Docker does with a container's link; fd link.Current brings it back. The
// link keeps its mark.
func (k *Kernel) Move(name string, fd int, as string) error {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	e, ok := k.host.entries[name]
	if !ok {
		return fmt.Errorf("move link %s: %w", name, link.ErrNotFound)
	}
	e.away, e.as = fd, as
	k.host.tell(e, fd != link.Current)
	return nil
}

// at gives the link of that name in the host's own namespace.
func (h *host) at(name string) (*entry, bool) {
	e, ok := h.entries[name]
	if !ok || e.away != link.Current {
		return nil, false
	}
	return e, true
}

func (h *host) put(e *entry) {
	h.next++
	if e.Index == 0 {
		e.Index = h.next
	}
	if e.mac == nil && !e.Loopback {
		sum := sha256.Sum256([]byte(e.Name))
		e.mac = append(net.HardwareAddr{2}, sum[:5]...)
	}
	h.entries[e.Name] = e
	h.tell(e, false)
}

func (h *host) setUp(name string, up bool) {
	e, ok := h.entries[name]
	if !ok || e.Up == up {
		return
	}
	e.Up = up
	h.tell(e, false)
	for _, child := range h.children(name) {
		if child.Kind == string(link.VLAN) {
			h.setUp(child.Name, up)
		}
	}
}

func (h *host) drop(name string) {
	e, ok := h.entries[name]
	if !ok {
		return
	}
	delete(h.entries, name)
	for _, child := range h.children(name) {
		h.drop(child.Name)
	}
	h.tell(e, true)
}

// children gives the links that hang from parent, by name, also those moved
// away.
func (h *host) children(parent string) []*entry {
	var found []*entry
	for _, e := range h.sorted() {
		if e.Parent == parent {
			found = append(found, e)
		}
	}
	return found
}

func (h *host) sorted() []*entry {
	names := slices.Sorted(maps.Keys(h.entries))
	all := make([]*entry, 0, len(names))
	for _, name := range names {
		all = append(all, h.entries[name])
	}
	return all
}

func (k *Kernel) begin(ctx context.Context, method, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if k.host.before == nil {
		return nil
	}
	return k.host.before(method, name)
}
