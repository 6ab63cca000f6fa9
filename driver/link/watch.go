package link

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Event is one change of the namespace's links.
type Event struct {
	Name   string // kernel name
	Index  int
	Up     bool // administratively up
	Gone   bool // the link was removed or left the namespace
	Resync bool // changes were lost: look at everything anew; the other fields are zero
}

// Watch calls changed with every link that appears, changes or goes in the
// namespace, one at a time, until ctx ends; then it returns ctx's error. The
// first event is a Resync: from then on nothing is missed, so what was there
// before is found by looking then. When changes come faster than changed takes
// them, the kernel drops some, and another Resync says so.
func (k *Kernel) Watch(ctx context.Context, changed func(Event)) error {
	for {
		err := k.subscribe(ctx, changed)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			// A socket that overflowed drops silently until it is read empty;
			// on a new one, everything after its Resync arrives.
			continue
		}
		return fmt.Errorf("watch links: %w", err)
	}
}

// subscribe is Watch until the socket fails.
func (k *Kernel) subscribe(ctx context.Context, changed func(Event)) error {
	socket, err := nl.SubscribeAt(k.ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	changed(Event{Resync: true})
	for {
		messages, _, err := socket.Receive()
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		for _, m := range messages {
			if event, ok := eventOf(unix.NlMsghdr(m.Header), m.Data); ok {
				changed(event)
			}
		}
	}
}

func eventOf(header unix.NlMsghdr, data []byte) (Event, bool) {
	if header.Type != unix.RTM_NEWLINK && header.Type != unix.RTM_DELLINK {
		return Event{}, false
	}
	// A bridge reports that a port left it as RTM_DELLINK of its own family.
	if len(data) == 0 || data[0] != unix.AF_UNSPEC {
		return Event{}, false
	}
	l, err := netlink.LinkDeserialize(&header, data)
	if err != nil {
		return Event{Resync: true}, true
	}
	a := l.Attrs()
	return Event{
		Name:  a.Name,
		Index: a.Index,
		Up:    a.RawFlags&unix.IFF_UP != 0,
		Gone:  header.Type == unix.RTM_DELLINK,
	}, true
}
