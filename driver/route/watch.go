package route

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Watch calls changed when links or addresses of the namespace change, and when a
// route or neighbour of ours goes, until ctx ends; then it returns ctx's error. It
// calls it first when nothing is missed from then on, and again when changes came
// faster than they were taken.
func (k *Kernel) Watch(ctx context.Context, changed func()) error {
	for {
		err := k.subscribe(ctx, changed)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			continue
		}
		return fmt.Errorf("watch routes: %w", err)
	}
}

// subscribe is Watch until the socket fails.
func (k *Kernel) subscribe(ctx context.Context, changed func()) error {
	socket, err := nl.SubscribeAt(k.ns, netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEIGH)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	changed()
	for {
		messages, _, err := socket.Receive()
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		for _, m := range messages {
			if k.matters(m.Header.Type, m.Data) {
				changed()
				break
			}
		}
	}
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
