package route

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Watch calls changed when links or addresses of the namespace change, when a route of
// ours goes otherwise than by this Kernel, and when a neighbour of ours goes, until ctx
// ends; then it returns ctx's error. It calls it first when nothing is missed from then
// on, and again when changes came faster than they were taken.
func (k *Kernel) Watch(ctx context.Context, changed func()) error {
	groups := []uint{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEIGH,
	}
	err := k.net.Watch(ctx, groups, changed, func(header unix.NlMsghdr, data []byte) {
		if header.Pid != k.port && k.matters(header.Type, data) {
			changed()
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("watch routes: %w", err)
}

// matters reports whether a message tells of something that Set goes by. Hosts with
// the routes of the whole internet, or with a busy LAN, tell of many others.
func (k *Kernel) matters(kind uint16, data []byte) bool {
	const protocolAt = 5 // in struct rtmsg
	switch kind {
	case unix.RTM_DELROUTE:
		return len(data) > protocolAt && int(data[protocolAt]) == k.protocol
	case unix.RTM_DELNEIGH:
		_, _, protocol, ok := parseNeighbour(data)
		return ok && protocol == k.protocol
	case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return true
	}
	return false
}
