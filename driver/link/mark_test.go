package link_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/driver/link"
)

// unfinished is the group of a link that has no mark yet, as in kernel.go.
const unfinished = 0x67766c6e

func endpoint(name, parent string) link.Spec {
	return link.Spec{Name: name, Kind: link.Macvlan, Mode: link.Bridge, Parent: parent, Owner: "ep-" + name}
}

// An agent died after it made the link and before it marked it.
func TestUnfinishedLinkIsOurs(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	w.foreign(t, endpoint("gv1", "eth0"))
	w.do(t, func() error { return w.handle.LinkSetGroup(w.link(t, "gv1"), unfinished) })

	links, err := w.Owned(t.Context())
	if err != nil || len(links) != 1 || links[0].Name != "gv1" || links[0].Owner != "" {
		t.Fatalf("Owned = %v, %v, want gv1 without an owner", links, err)
	}
	made, err := w.Ensure(t.Context(), endpoint("gv1", "eth0"))
	if err != nil || made.Created {
		t.Fatalf("Ensure = %+v, %v, want the link that is there", made, err)
	}
	now := w.link(t, "gv1").Attrs()
	if now.Alias != "gvlan:gvlan:macvlan:ep-gv1" || now.Group != 0 {
		t.Errorf("alias %q, group %d, want the mark and group 0", now.Alias, now.Group)
	}
	if err := w.Remove(t.Context(), "gv1"); err != nil {
		t.Error(err)
	}
}

// Whoever sweeps what a crash left must not see a link that is being made: it
// has no owner yet and would go, while Docker is told to use it.
func TestLinkInTheMakingIsNotSeen(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	done := make(chan error, 1)
	go func() {
		for range 60 {
			_, err := w.Ensure(t.Context(), endpoint("gv1", "eth0"))
			if err = errors.Join(err, w.Remove(t.Context(), "gv1")); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		links, err := w.Owned(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if l.Owner == "" {
				t.Errorf("Owned shows %s without an owner", l.Name)
			}
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}

// The kernel takes the group in the message that makes the link, not the alias.
func TestMakingMarksAtOnce(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "gv1", w.link(t, "eth0").Attrs().Index
	attrs.Group, attrs.Alias = unfinished, "lost"
	w.do(t, func() error { return w.handle.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs}) })
	if group := w.link(t, "gv1").Attrs().Group; group != unfinished {
		t.Errorf("group of a new link = %d, want %d", group, unfinished)
	}
}

func TestMarkStaysInTheSandbox(t *testing.T) {
	host, sandbox := newWorld(t), newWorld(t)
	host.card(t, "eth0")
	// It has the index that the parent has in the host's namespace.
	sandbox.card(t, "other")
	if _, err := host.Ensure(t.Context(), endpoint("gv1", "eth0")); err != nil {
		t.Fatal(err)
	}
	host.moveTo(t, "gv1", sandbox, "eth0")

	// The agent ended and another took over.
	again := openKernel(t, sandbox.ns, driverName)
	links, err := again.Owned(t.Context())
	if err != nil || len(links) != 1 {
		t.Fatalf("Owned = %v, %v, want one link", links, err)
	}
	got := links[0]
	got.Index, got.MAC = 0, nil
	want := link.Link{
		Spec:        link.Spec{Name: "eth0", Kind: link.Macvlan, Mode: link.Bridge, MTU: 1500, Owner: "ep-gv1"},
		ParentIndex: host.link(t, "eth0").Attrs().Index,
		Owned:       true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("link in the sandbox (-want +got):\n%s", diff)
	}
	sandbox.moveTo(t, "eth0", host, "gv1")
	if l, err := host.Read(t.Context(), "gv1"); err != nil || l.Owner != "ep-gv1" {
		t.Errorf("Read after Docker moved it back = %+v, %v", l, err)
	}
}

// A link that cannot be marked is not left behind.
func TestLinkThatCannotBeMarked(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	spec := endpoint("gv1", "eth0")
	spec.Owner = strings.Repeat("x", 300) // an alias holds 255 bytes
	if _, err := w.Ensure(t.Context(), spec); !errors.Is(err, unix.ERANGE) && !errors.Is(err, unix.EINVAL) {
		t.Errorf("Ensure = %v, want %v or %v", err, unix.ERANGE, unix.EINVAL)
	}
	if _, err := w.Read(t.Context(), "gv1"); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("Read = %v, want %v", err, link.ErrNotFound)
	}
}

// A person's alias on our link makes it theirs.
func TestAliasOfAPersonIsRespected(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	if _, err := w.Ensure(t.Context(), endpoint("gv1", "eth0")); err != nil {
		t.Fatal(err)
	}
	w.do(t, func() error { return w.handle.LinkSetAlias(w.link(t, "gv1"), "mine now") })
	if err := w.Remove(t.Context(), "gv1"); !errors.Is(err, link.ErrForeign) {
		t.Errorf("Remove = %v, want %v", err, link.ErrForeign)
	}
}

// moveTo does what Docker does with a container's link.
func (w world) moveTo(t *testing.T, name string, to world, as string) {
	t.Helper()
	l := w.link(t, name)
	w.do(t, func() error { return w.handle.LinkSetName(l, "moving") })
	w.do(t, func() error { return w.handle.LinkSetNsFd(l, to.ns.Fd()) })
	to.do(t, func() error { return to.handle.LinkSetName(to.link(t, "moving"), as) })
}
