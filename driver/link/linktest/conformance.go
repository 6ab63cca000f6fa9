package linktest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/link"
)

// Maker is the half of a Kernel that changes links.
type Maker interface {
	Ensure(ctx context.Context, spec link.Spec) (link.Made, error)
	EnsureVLANs(ctx context.Context, master string, vids []int, owner string) (link.Made, error)
	Remove(ctx context.Context, name string) error
	RemoveStale(ctx context.Context, parent string, mac net.HardwareAddr, addr netip.Addr, live func(name, owner string) bool) ([]string, error)
}

// Looker is the half of a Kernel that reads.
type Looker interface {
	Read(ctx context.Context, name string) (link.Link, error)
	Owned(ctx context.Context) ([]link.Link, error)
	InUse(ctx context.Context, parent string, elsewhere ...int) ([]link.Usage, error)
	Interfaces(ctx context.Context) ([]link.Interface, error)
	Supports(ctx context.Context, kind link.Kind) error
}

// Host is a namespace of its own with a Kernel under test and what the table
// needs beside it. Functions that fail end the test themselves.
type Host struct {
	Maker
	Looker
	Other   Maker                      // the Kernel of another driver in the same namespace
	Card    func(name string)          // adds a network card that is up, MTU 1500
	SetUp   func(name string, up bool) // sets a link up or down
	Foreign func(spec link.Spec)       // makes a link without a mark, down
	Address func(name, prefix string)  // gives a link an address
}

// Conform runs the conformance table, each test on a host of its own. Where
// the kernel lacks a kind that a test needs, the test is that it says so and
// makes nothing.
func Conform(t *testing.T, start func(t *testing.T) Host) {
	for _, tests := range [][]conformance{macvlanTests, ipvlanTests, parentTests, vlanTests, removalTests, shimTests} {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				h := trial{Host: start(t), t: t}
				h.Card("eth0")
				for _, kind := range tt.needs {
					if Lacks(t, h, kind) {
						h.expectUnsupported(kind)
						return
					}
				}
				tt.run(h)
			})
		}
	}
}

// LacksKey is the attribute of a test (testing.T.Attr) that met a kernel which
// cannot make a kind of link; the kind is the value.
const LacksKey = "lacks"

// Lacks reports whether the kernel cannot make links of that kind. A test can
// then see no more than that this is said; for who counts such tests it gets
// the attribute LacksKey.
func Lacks(t *testing.T, kernel interface {
	Supports(ctx context.Context, kind link.Kind) error
}, kind link.Kind) bool {
	t.Helper()
	err := kernel.Supports(t.Context(), kind)
	if err == nil {
		return false
	}
	if !errors.Is(err, link.ErrNoKernelSupport) {
		t.Fatalf("Supports(%s) = %v, want nil or %v", kind, err, link.ErrNoKernelSupport)
	}
	t.Attr(LacksKey, string(kind))
	return true
}

type conformance struct {
	name  string
	needs []link.Kind
	run   func(h trial)
}

// trial is a Host within one test.
type trial struct {
	Host
	t *testing.T
}

func (h trial) expectUnsupported(kind link.Kind) {
	h.t.Helper()
	spec := link.Spec{Name: "gvtest", Kind: kind, Parent: "eth0", VLAN: 5}
	h.refuse(spec, link.ErrNoKernelSupport)
	h.absent("gvtest")
	if _, err := h.EnsureVLANs(h.t.Context(), "eth0", []int{5}, "net"); kind == link.VLAN && !errors.Is(err, link.ErrNoKernelSupport) {
		h.t.Errorf("EnsureVLANs = %v, want %v", err, link.ErrNoKernelSupport)
	}
}

// make has the link made, new or not as created says.
func (h trial) make(spec link.Spec, created bool) link.Made {
	h.t.Helper()
	made, err := h.Ensure(h.t.Context(), spec)
	if err != nil {
		h.t.Fatalf("Ensure(%s): %v", spec, err)
	}
	if made.Created != created {
		h.t.Errorf("Ensure(%s): created = %v, want %v", spec, made.Created, created)
	}
	return made
}

func (h trial) refuse(spec link.Spec, want error) {
	h.t.Helper()
	if _, err := h.Ensure(h.t.Context(), spec); !errors.Is(err, want) {
		h.t.Errorf("Ensure(%s) = %v, want %v", spec, err, want)
	}
}

func (h trial) read(name string) link.Link {
	h.t.Helper()
	l, err := h.Read(h.t.Context(), name)
	if err != nil {
		h.t.Fatalf("Read(%s): %v", name, err)
	}
	return l
}

// expect compares what is fixed by the test: everything but indexes, and the
// MAC where the kernel chose it.
func (h trial) expect(want link.Link) {
	h.t.Helper()
	got := h.read(want.Name)
	got.Index, got.ParentIndex = 0, 0
	if want.MAC == nil {
		got.MAC = nil
	}
	// The kernel gives links that are up a link-local address.
	got.Addresses = nil
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("link %s (-want +got):\n%s", want.Name, diff)
	}
}

func (h trial) absent(name string) {
	h.t.Helper()
	if _, err := h.Read(h.t.Context(), name); !errors.Is(err, link.ErrNotFound) {
		h.t.Errorf("Read(%s) = %v, want %v", name, err, link.ErrNotFound)
	}
}

func (h trial) remove(name string, want error) {
	h.t.Helper()
	if err := h.Remove(h.t.Context(), name); !errors.Is(err, want) {
		h.t.Errorf("Remove(%s) = %v, want %v", name, err, want)
	}
}

func (h trial) owned(want ...string) {
	h.t.Helper()
	links, err := h.Owned(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	var got []string
	for _, l := range links {
		got = append(got, l.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("owned links (-want +got):\n%s", diff)
	}
}

func (h trial) users(parent string, want ...string) {
	h.t.Helper()
	use, err := h.InUse(h.t.Context(), parent)
	if err != nil {
		h.t.Fatal(err)
	}
	var got []string
	for _, u := range use {
		got = append(got, u.Spec.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("links on %s (-want +got):\n%s", parent, diff)
	}
}

func (h trial) vlans(master string, vids []int, want string, created bool) {
	h.t.Helper()
	made, err := h.EnsureVLANs(h.t.Context(), master, vids, "net1")
	if err != nil {
		h.t.Fatalf("EnsureVLANs(%s, %v): %v", master, vids, err)
	}
	if made.Name != want || made.Created != created {
		h.t.Errorf("EnsureVLANs(%s, %v) = %s, created %v, want %s, %v", master, vids, made.Name, made.Created, want, created)
	}
}

func (h trial) inventory(name string) link.Interface {
	h.t.Helper()
	all, err := h.Interfaces(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	at := slices.IndexFunc(all, func(i link.Interface) bool { return i.Name == name })
	if at < 0 {
		h.t.Fatalf("%s is not in the inventory", name)
	}
	return all[at]
}
