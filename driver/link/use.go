package link

// Usage is one container link that hangs from a parent.
type Usage struct {
	Spec           // Owner is set for links with this driver's mark
	Owned     bool // carries this driver's mark
	Namespace int  // descriptor it was found in, as passed to InUse; Current for the parent's own
}

// family gives the kernel driver behind a kind of container link: tap forms
// share the parent's port with the plain ones.
func family(kind Kind) Kind {
	switch kind {
	case Macvlan, "macvtap":
		return Macvlan
	case Ipvlan, "ipvtap":
		return Ipvlan
	}
	return ""
}

// Judge reports whether spec can be made beside what its parent carries: nil, or
// a *ConflictError that names the first link in the way. The kernel judges
// too, except that another mode or flag of ipvlan silently changes the links
// that run. A link with spec's own name is not in its way.
func Judge(spec Spec, use []Usage) error {
	spec = spec.WithDefaults()
	for i := range use {
		have := &use[i]
		if have.Name == spec.Name && have.Owned {
			continue
		}
		switch Beside(spec, have.Spec) {
		case ClashKind:
			return &ConflictError{Want: spec, Have: have, Err: ErrParentBusy}
		case ClashPassthru, ClashMode:
			return &ConflictError{Want: spec, Have: have, Err: ErrModeConflict}
		}
	}
	return nil
}

// Clash is why two links cannot hang from one parent, for people; "" when they
// can.
type Clash string

// The clashes there are.
const (
	ClashKind     Clash = "macvlan and ipvlan cannot share a parent"
	ClashPassthru Clash = "a passthru link takes its parent for itself"
	ClashMode     Clash = "mode and flag of ipvlan belong to the parent, the kernel would change the running containers"
)

// Beside says why a link cannot be made beside one that its parent carries. It
// is the one rule of who may share a parent, whether links run or networks are
// compared.
func Beside(want, have Spec) Clash {
	switch {
	case family(want.Kind) == "":
		return ""
	case family(want.Kind) != family(have.Kind):
		return ClashKind
	case family(want.Kind) == Macvlan && (want.Mode == Passthru || have.Mode == Passthru):
		return ClashPassthru
	case family(want.Kind) == Ipvlan && (want.Mode != have.Mode || want.Flag != have.Flag):
		return ClashMode
	}
	return ""
}
