package netns_test

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
)

// TestWriteSysctl: a setting is of the namespace the thread is in, also where
// /proc/sys is read-only.
func TestWriteSysctl(t *testing.T) {
	ns, setting := newNamespace(t), "net/ipv6/conf/lo/accept_ra"
	read := func() string {
		value, err := os.ReadFile("/proc/sys/" + setting)
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(value))
	}
	outside := read()
	for value, readOnly := range map[string]bool{"0": false, "2": true} {
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // for good: the thread's mounts are its own now
			done <- func() error {
				if err := unix.Setns(ns.Fd(), unix.CLONE_NEWNET); err != nil {
					return err
				}
				if readOnly {
					if err := protectSettings(); err != nil {
						return err
					}
				}
				return netns.WriteSysctl(setting, value)
			}()
		}()
		if err := <-done; err != nil {
			t.Fatalf("/proc/sys read-only %t: %v", readOnly, err)
		}
		err := ns.Do(func() error {
			if got := read(); got != value {
				t.Errorf("/proc/sys read-only %t: it is %s, want %s", readOnly, got, value)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if now := read(); now != outside {
		t.Errorf("outside it is %s now, and was %s", now, outside)
	}
	if err := netns.WriteSysctl("net/ipv6/conf/nosuch/accept_ra", "0"); err == nil {
		t.Error("an interface that is not there took a setting")
	}
}

// protectSettings makes /proc/sys read-only for the calling thread.
func protectSettings() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	for _, m := range []struct {
		from, to string
		flags    uintptr
	}{
		{"", "/", unix.MS_REC | unix.MS_PRIVATE},
		{"/proc/sys", "/proc/sys", unix.MS_BIND},
		{"", "/proc/sys", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
	} {
		if err := unix.Mount(m.from, m.to, "", m.flags, ""); err != nil {
			return err
		}
	}
	return nil
}
