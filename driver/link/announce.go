package link

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announce tells the LAN once that addr is at the interface: by an ARP
// announcement (RFC 5227) or an unsolicited neighbor advertisement (RFC 4861),
// so that neighbors and switches forget who had the address before. Engines
// from 28 on do this themselves.
//
// It works in the network namespace of the calling thread: call it inside
// netns.Do. The interface must be up. One without ARP, such as ipvlan's l3
// modes make, has nobody to tell: nothing is sent.
func Announce(ifname string, addr netip.Addr) error {
	if err := announce(ifname, addr.Unmap()); err != nil {
		return fmt.Errorf("announce %s on %s: %w", addr, ifname, err)
	}
	return nil
}

func announce(ifname string, addr netip.Addr) error {
	iface, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if silent, err := noARP(fd, ifname); silent || err != nil {
		return err
	}
	frame := arpAnnouncement(addr, iface.HardwareAddr)
	if addr.Is6() {
		frame = neighborAdvertisement(addr, iface.HardwareAddr)
	}
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: iface.Index})
}

// noARP reads IFF_NOARP, which package net does not show.
func noARP(fd int, ifname string) (bool, error) {
	request, err := unix.NewIfreq(ifname)
	if err != nil {
		return false, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return false, err
	}
	return request.Uint16()&unix.IFF_NOARP != 0, nil
}
