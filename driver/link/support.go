package link

import (
	"context"
	"errors"
	"math"
	"net"

	"golang.org/x/sys/unix"
)

// Supports reports whether the kernel can make links of that kind: nil, or an
// *UnsupportedError that names the module and the minimum kernel. It asks for
// an impossible link, which makes the kernel look for the kind's driver (and
// load its module) and then refuse, so that nothing is ever made. For a kind
// that is none of this package's the error wraps ErrSpec.
func (k *Kernel) Supports(ctx context.Context, kind Kind) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	probe := Spec{Name: "gv-probe", Kind: kind, Parent: "none", VLAN: 1}.WithDefaults()
	if err := probe.Check(); err != nil {
		return err
	}
	if kind == Dummy {
		probe.MAC = net.HardwareAddr{1} // refused: an address has 6 bytes
	}
	err := k.handle.LinkAdd(probe.request(math.MaxInt32))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return unsupported(kind)
	}
	return nil
}
