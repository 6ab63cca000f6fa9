package link

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"gvlan/driver/netns"
)

const (
	shimPrefix = "gvs-"
	shimKind   = Kind("shim") // in a shim's mark, in place of its kind
)

// Shim is the link by which a host reaches its own containers, which the kernel
// keeps from the parent: one beside theirs in the host's namespace, of their kind
// and mode, without an address. There is one for each parent, kind, mode and flag.
// The driver and the node make its name and MAC: other agents of the host and other
// hosts of the LAN have others.
func Shim(driver, node, parent string, kind Kind, mode Mode, flag Flag) Spec {
	s := Spec{Kind: kind, Mode: mode, Flag: flag, Parent: parent, Shim: true}.WithDefaults()
	s.Owner = strings.Join([]string{parent, string(s.Kind), string(s.Mode), string(s.Flag)}, "/")
	s.Name = shimPrefix + digits(driver+" "+s.Owner, maxName-len(shimPrefix))
	if kind == Macvlan {
		// 06 sets it apart from containers' MACs, which begin with 02.
		sum := sha256.Sum256([]byte(node + " " + driver + " " + s.Owner))
		s.MAC = append(net.HardwareAddr{6}, sum[:5]...)
	}
	return s
}

// isShim reports whether a link is marked as a shim, of any driver of gvlan's.
func isShim(l netlink.Link) bool {
	m, ok := parseMark(l.Attrs().Alias)
	return ok && m.kind == shimKind
}

// shimsOn gives our shims that hang from a parent.
func (k *Kernel) shimsOn(all []netlink.Link, parent netlink.Link) (shims []netlink.Link) {
	for _, l := range all {
		if isShim(l) && k.owns(l) && localParent(l) == underlying(parent) {
			shims = append(shims, l)
		}
	}
	return shims
}

// makeWay removes our shims that a container's link cannot be made beside: who
// starts a container was judged by those that run, and where one of those needs the
// shim the kernel refuses the link as it would without.
func (k *Kernel) makeWay(ctx context.Context, spec Spec, parent netlink.Link) error {
	all, err := k.list(ctx)
	if err != nil {
		return err
	}
	for _, shim := range k.shimsOn(all, parent) {
		if spec.Shim && shim.Attrs().Name == spec.Name || Beside(spec, observe(shim).Spec) == "" {
			continue
		}
		if err := k.delete(shim); err != nil {
			return err
		}
	}
	return nil
}

// SysctlsAt has the settings of interfaces written below another folder than
// /proc/sys: that of a managed plugin may only be read.
func (k *Kernel) SysctlsAt(folder string) { k.sysctls = folder }

// ErrSysctl is wrapped when a setting of a shim cannot be made.
var ErrSysctl = errors.New("the setting cannot be made")

// quiet makes the settings of a shim, before it is up. It answers ARP only for who is
// reached by it, so that the LAN hears of the host's addresses from the parent
// alone; it has no address, neither a link's own nor one that a router tells of; and
// it passes on to others what its parent passes on, so that host access makes no
// router of a host.
func (k *Kernel) quiet(spec Spec) error {
	return netns.Do("/proc/self/fd/"+strconv.Itoa(int(k.ns)), func() error {
		forwarding, err := k.sysctl("ipv4", spec.Parent, "forwarding")
		if err != nil {
			return err
		}
		for _, s := range []struct{ family, key, value string }{
			{"ipv4", "arp_filter", "1"},
			{"ipv4", "forwarding", forwarding},
			{"ipv6", "addr_gen_mode", "1"}, // none
			{"ipv6", "accept_ra", "0"},
			{"ipv6", "autoconf", "0"},
		} {
			if err := k.setSysctl(s.family, spec.Name, s.key, s.value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *Kernel) sysctlPath(family, link, key string) string {
	return filepath.Join(k.sysctls, "net", family, "conf", link, key)
}

func (k *Kernel) sysctl(family, link, key string) (string, error) {
	value, err := os.ReadFile(k.sysctlPath(family, link, key))
	return strings.TrimSpace(string(value)), err
}

// setSysctl makes a setting, unless it is so. A kernel without IPv6 has none of its.
func (k *Kernel) setSysctl(family, link, key, value string) error {
	now, err := k.sysctl(family, link, key)
	if errors.Is(err, fs.ErrNotExist) && family == "ipv6" || err == nil && now == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(k.sysctlPath(family, link, key), []byte(value), 0)
	}
	if err != nil {
		return fmt.Errorf("%w: net.%s.conf.%s.%s=%s: %w", ErrSysctl, family, link, key, value, err)
	}
	return nil
}
