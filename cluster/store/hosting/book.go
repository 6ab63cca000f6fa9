package hosting

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/internal/folder"
	"gvlan/cluster/store/join"
)

// DefaultPort is where a member serves clients unless told otherwise: etcd's.
const DefaultPort = 2379

const bookFile = "store.json"

// Book is what a host of a cluster remembers of the store, so that it starts
// again while any member is there.
type Book struct {
	// Base is the host:port this host serves clients at as a member; its peers
	// and its door have the ports after it. "" where it can run none.
	Base    string       `json:"base,omitempty"`
	Members []join.Place `json:"members"`           // empty: this host is of no cluster any more
	Cluster string       `json:"cluster,omitempty"` // uuid, of who let this host in; "" where it was not told
	// Left is what this host was told when it left its cluster; nil: it left none.
	Left *Left `json:"left,omitempty"`
	// Moved says that this host has just come from another store, which it has
	// not forgotten yet.
	Moved bool `json:"moved,omitempty"`

	// Life is that of the data of the member here; without data it says nothing.
	Life store.Life `json:"life,omitzero"`
	// Former are the members of the life before, from when this host began
	// another one until they are of it: they may come back and not know of it.
	Former []join.Place `json:"former,omitempty"`
	// Anew is what the member's data is still to be made of.
	Anew *Anew `json:"anew,omitempty"`
	// Heard is when the store last answered this host, in unix seconds; 0 while it
	// answers.
	Heard int64 `json:"heard,omitempty"`
}

// Left are the settings of a host that left its cluster, which are followed again
// once they say something else: a host that starts again is not to be back.
type Left struct {
	Join   string `json:"join,omitempty"`
	Listen string `json:"listen,omitempty"`
	Token  string `json:"token,omitempty"` // digest; "" where it could not be read
}

// leftWith is what the settings say now.
func leftWith(c Config) *Left {
	if c.Join == "" && c.Listen == "" {
		return nil
	}
	left := &Left{Join: c.Join, Listen: c.Listen}
	if c.Join != "" && c.Token != nil {
		if token, err := c.Token(); err == nil {
			left.Token = authority.Digest(token)
		}
	}
	return left
}

// sameAs reports whether the settings still are those. A token that cannot be read
// is no other.
func (l *Left) sameAs(now *Left) bool {
	return l != nil && now != nil && l.Join == now.Join && l.Listen == now.Listen &&
		(l.Token == now.Token || l.Token == "" || now.Token == "")
}

// readBook returns the book of a data directory; false for a host that is of no
// cluster, whose book says at most that it has left one.
func readBook(dir string) (b Book, found bool, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, bookFile))
	if errors.Is(err, fs.ErrNotExist) {
		return b, false, nil
	}
	if err != nil {
		return b, false, fmt.Errorf("read where the store is: %w", err)
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return b, false, fmt.Errorf("read where the store is: %s: %w", filepath.Join(dir, bookFile), err)
	}
	if len(b.Members) == 0 && !b.Moved && b.Left == nil {
		return b, false, fmt.Errorf("read where the store is: %s names no member", filepath.Join(dir, bookFile))
	}
	return b, len(b.Members) > 0, nil
}

// bookOf is the book of a running host, in memory and on disk.
type bookOf struct {
	dir string

	mu  sync.Mutex
	now Book
}

func (b *bookOf) read() Book {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// rewrite changes the book, here and on disk.
func (b *bookOf) rewrite(change func(*Book)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	book := b.now
	change(&book)
	if err := book.write(b.dir); err != nil {
		return err
	}
	b.now = book
	return nil
}

// settle says that nothing of the store before is remembered any more. A host
// that left its cluster, and was told nothing that would bring it back, needs no
// book then.
func (b *bookOf) settle() error {
	if now := b.read(); len(now.Members) > 0 || now.Left != nil {
		return b.rewrite(func(b *Book) { b.Moved = false })
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.Remove(filepath.Join(b.dir, bookFile)); err != nil {
		return fmt.Errorf("forget the store before: %w", err)
	}
	b.now = Book{}
	return folder.Sync(b.dir)
}

// Remembered is where a host of a cluster serves its member, "" where it runs
// none, and where its members are; nothing for a host that is of no cluster.
func Remembered(dir string) (base string, members []string, err error) {
	b, _, err := readBook(dir)
	return b.Base, clients(b.Members), err
}

// write replaces the book in one step.
func (b Book) write(dir string) error {
	raw, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return fmt.Errorf("keep where the store is: %w", err)
	}
	if err := replace(filepath.Join(dir, bookFile), append(raw, '\n')); err != nil {
		return fmt.Errorf("keep where the store is: %w", err)
	}
	return nil
}

// replace writes a file of root's own so that a power cut leaves the old one or
// the new one.
func replace(path string, raw []byte) error {
	draft, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = draft.Write(raw)
	if err = errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(path))
}

func splitBase(base string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(base)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: want HOST:PORT: %w", base, err)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: want HOST:PORT: %w", base, err)
	}
	return host, uint16(number), nil
}

// WithPort adds the default port to an address that has none.
func WithPort(address string) string {
	if addr, err := netip.ParseAddr(address); err == nil {
		return netip.AddrPortFrom(addr, DefaultPort).String()
	}
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, strconv.Itoa(DefaultPort))
}
