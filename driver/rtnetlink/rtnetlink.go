// Package rtnetlink speaks rtnetlink(7) with the kernel in one network namespace: a
// bounded request, a list that is of one moment, a watch that misses nothing. What is
// asked for is its callers' (driver/link, driver/route).
package rtnetlink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Current is the descriptor that stands for the calling thread's own network
// namespace in Open.
const Current = -1

// RequestTimeout keeps one request within the 5 s that a plugin handler has, even
// while the kernel holds its lock to tear a namespace down.
const RequestTimeout = 4 * time.Second

// Namespace is a network namespace, kept open.
type Namespace struct {
	*netlink.Handle
	NS netns.NsHandle
}

// Open keeps the namespace with descriptor fd (Current for this one) open, which the
// caller may close afterwards.
func Open(fd int) (*Namespace, error) {
	ns, err := duplicate(fd)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	n := &Namespace{Handle: handle, NS: ns}
	if err := handle.SetSocketTimeout(RequestTimeout); err != nil {
		n.Close()
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	return n, nil
}

func duplicate(fd int) (netns.NsHandle, error) {
	if fd == Current {
		own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return netns.NsHandle(own), err
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return netns.NsHandle(own), err
}

// Close releases the namespace and the socket. What was made stays.
func (n *Namespace) Close() error {
	n.Handle.Close()
	return n.NS.Close()
}

// dumpAttempts bounds how often an inconsistent dump is asked for again.
const dumpAttempts = 5

// Dump repeats list while what it lists changes under it (NLM_F_DUMP_INTR).
func Dump[T any](ctx context.Context, list func() (T, error)) (got T, err error) {
	for range dumpAttempts {
		if err := ctx.Err(); err != nil {
			return got, err
		}
		got, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
	}
	return got, fmt.Errorf("it kept changing: %w", err)
}

// Watch calls heard with every message of some groups (RTNLGRP_...), one at a time,
// until ctx ends; then it returns ctx's error. It calls begin first: from then on
// nothing is missed. When messages come faster than they are taken the kernel drops
// some, and begin is called again.
func (n *Namespace) Watch(ctx context.Context, groups []uint, begin func(), heard func(header unix.NlMsghdr, data []byte)) error {
	for {
		err := n.subscribe(ctx, groups, begin, heard)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			// A socket that overflowed drops silently until it is read empty;
			// on a new one, everything after its beginning arrives.
			continue
		}
		return err
	}
}

// subscribe is Watch until the socket fails.
func (n *Namespace) subscribe(ctx context.Context, groups []uint, begin func(), heard func(header unix.NlMsghdr, data []byte)) error {
	socket, err := nl.SubscribeAt(n.NS, netns.None(), unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	begin()
	for {
		messages, _, err := socket.Receive()
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		for _, m := range messages {
			heard(unix.NlMsghdr(m.Header), m.Data)
		}
	}
}
