// Package oui says who made a network card, by the list of the IEEE that many hosts
// have as a file. gvlan brings none along.
package oui

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
)

// files are where hosts have the list: of packages ieee-data and hwdata.
var files = [...]string{"/usr/share/ieee-data/oui.txt", "/var/lib/ieee-data/oui.txt", "/usr/share/hwdata/oui.txt"}

// mostKept is how many answers are remembered.
const mostKept = 256

// List is the list of this host.
type List struct {
	onHost func(path string) string

	mu   sync.Mutex
	kept map[string]string // by prefix
}

// New reads nothing yet; onHost is where a path of the host is.
func New(onHost func(path string) string) *List {
	return &List{onHost: onHost, kept: map[string]string{}}
}

// Of is who made the card with that MAC address; "" where this host's list does not
// say, or it has none. An address that software made has no maker.
func (l *List) Of(mac net.HardwareAddr) string {
	if len(mac) < 3 || mac[0]&2 != 0 {
		return ""
	}
	prefix := fmt.Sprintf("%02X-%02X-%02X", mac[0], mac[1], mac[2])
	l.mu.Lock()
	defer l.mu.Unlock()
	if made, known := l.kept[prefix]; known {
		return made
	}
	if len(l.kept) >= mostKept {
		clear(l.kept)
	}
	l.kept[prefix] = l.look(prefix)
	return l.kept[prefix]
}

func (l *List) look(prefix string) string {
	for _, path := range files {
		f, err := os.Open(l.onHost(path))
		if err != nil {
			continue
		}
		made := find(f, prefix)
		_ = f.Close() // it was only read
		if made != "" {
			return made
		}
	}
	return ""
}

// find looks for a line like "00-00-5E   (hex)		ICANN, IANA Department".
func find(list io.Reader, prefix string) string {
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		rest, is := strings.CutPrefix(lines.Text(), prefix)
		if _, name, hex := strings.Cut(rest, "(hex)"); is && hex {
			return strings.TrimSpace(name)
		}
	}
	return ""
}
