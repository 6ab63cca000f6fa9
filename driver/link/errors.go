package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotFound: no link of that name in the namespace.
	ErrNotFound = errors.New("no such link")
	// ErrForeign: the link exists and does not carry this driver's mark.
	ErrForeign = errors.New("link was not made by gvlan")
	// ErrInUse: other links hang from the link.
	ErrInUse = errors.New("link is in use")
	// ErrParentBusy: something else has the parent: macvlan beside ipvlan, or
	// a bond, bridge or switch that the parent is a port of.
	ErrParentBusy = errors.New("parent is taken")
	// ErrModeConflict: the parent runs links of a mode that allows no other,
	// macvlan passthru or another mode or flag of ipvlan.
	ErrModeConflict = errors.New("parent runs another mode")
	// ErrParentType: the parent is the loopback or no Ethernet device.
	ErrParentType = errors.New("parent cannot carry containers")
	// ErrMTU: the MTU asked for is larger than the parent's.
	ErrMTU = errors.New("MTU is larger than the parent's")
	// ErrNoKernelSupport: the kernel has no such links; see UnsupportedError.
	ErrNoKernelSupport = errors.New("not supported by this kernel")
)

// UnsupportedError says which module and kernel a kind or setting needs. It
// wraps ErrNoKernelSupport.
type UnsupportedError struct {
	Kind      Kind
	Module    string // kernel module that brings the kind
	MinKernel string // first Linux version that has it
}

// Error names the module and the minimum kernel.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("this kernel has no %s links: they need Linux %s or newer with the module %s (try: modprobe %s)", e.Kind, e.MinKernel, e.Module, e.Module)
}

// Unwrap gives ErrNoKernelSupport.
func (e *UnsupportedError) Unwrap() error { return ErrNoKernelSupport }

// ConflictError says that a parent cannot take a link beside what it carries.
// It wraps ErrParentBusy or ErrModeConflict.
type ConflictError struct {
	Want Spec
	Have *Usage // what is in the way; nil where the kernel refused and did not say
	Err  error  // ErrParentBusy or ErrModeConflict
}

// Error gives the reason in one sentence.
func (e *ConflictError) Error() string {
	if e.Have == nil {
		return fmt.Sprintf("cannot put %s: %v: %s", e.Want, e.Err, e.reason())
	}
	return fmt.Sprintf("cannot put %s: it already carries %s: %s", e.Want, e.Have.Spec, e.reason())
}

func (e *ConflictError) reason() string {
	switch {
	case errors.Is(e.Err, ErrParentBusy):
		return "macvlan and ipvlan cannot share a parent, nor share it with a bond, bridge or switch"
	case e.Want.Kind == Macvlan:
		return "macvlan passthru shares its parent with nobody"
	}
	return "ipvlan's mode and flag belong to the parent, and another would change the running containers"
}

// Unwrap gives the sentinel.
func (e *ConflictError) Unwrap() error { return e.Err }

// refused turns the kernel's answer to making spec into this package's errors.
func refused(spec Spec, err error) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return unsupported(spec.Kind)
	case errors.Is(err, unix.EBUSY):
		return &ConflictError{Want: spec, Err: ErrParentBusy}
	case errors.Is(err, unix.EINVAL) && spec.Kind == Macvlan:
		return &ConflictError{Want: spec, Err: ErrModeConflict}
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("make %s: parent: %w", spec, ErrNotFound)
	}
	return fmt.Errorf("make %s: %w", spec, err)
}

func unsupported(kind Kind) error {
	switch kind {
	case Macvlan:
		return &UnsupportedError{kind, "macvlan", "3.9"}
	case Ipvlan:
		return &UnsupportedError{kind, "ipvlan", "4.2"}
	case VLAN:
		return &UnsupportedError{kind, "8021q", "3.9"}
	}
	return &UnsupportedError{kind, "dummy", "3.9"}
}
