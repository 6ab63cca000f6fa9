package link

import (
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

// ErrSysctl is wrapped when a setting of a shim cannot be made.
var ErrSysctl = errors.New("the setting cannot be made")

// sysctls makes settings of interfaces in a network namespace.
type sysctls struct {
	folder string // that is /proc/sys
	ns     int    // descriptor of the namespace
}

// quiet makes the settings of a shim, before it is up. It answers nobody's ARP, so
// that the LAN hears of the host's addresses from the parent alone (with arp_filter
// it answers a probe, RFC 5227, beside the parent); it has no address, neither a
// link's own nor one that a router tells of; and it passes on to others what its
// parent passes on, so that host access makes no router of a host.
func (s sysctls) quiet(shim, parent string) error {
	return netns.Do("/proc/self/fd/"+strconv.Itoa(s.ns), func() error {
		forwarding, err := s.read("ipv4", parent, "forwarding")
		if err != nil {
			return err
		}
		for _, setting := range []struct{ family, key, value string }{
			{"ipv4", "arp_ignore", "8"}, // for no address
			{"ipv4", "forwarding", forwarding},
			{"ipv6", "addr_gen_mode", "1"}, // none
			{"ipv6", "accept_ra", "0"},
			{"ipv6", "autoconf", "0"},
		} {
			if err := s.write(setting.family, shim, setting.key, setting.value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s sysctls) path(family, link, key string) string {
	return filepath.Join(s.folder, "net", family, "conf", link, key)
}

func (s sysctls) read(family, link, key string) (string, error) {
	value, err := os.ReadFile(s.path(family, link, key))
	return strings.TrimSpace(string(value)), err
}

// write makes a setting, unless it is so. A kernel without IPv6 has none of its.
func (s sysctls) write(family, link, key, value string) error {
	now, err := s.read(family, link, key)
	if errors.Is(err, fs.ErrNotExist) && family == "ipv6" || err == nil && now == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(s.path(family, link, key), []byte(value), 0)
	}
	if err != nil {
		return fmt.Errorf("%w: net.%s.conf.%s.%s=%s: %w", ErrSysctl, family, link, key, value, err)
	}
	return nil
}
