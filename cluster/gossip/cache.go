package gossip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// origin is what a membership starts from.
type origin struct {
	Cluster string   `json:"cluster"`
	Keys    [][]byte `json:"keys"`
	Peers   []Seed   `json:"peers"`
}

func originOf(k Known) origin {
	peers := k.seeds()
	slices.SortFunc(peers, func(a, b Seed) int { return strings.Compare(a.Node, b.Node) })
	return origin{Cluster: k.Cluster, Keys: k.Keys, Peers: peers}
}

func (o origin) usable() bool { return o.Cluster != "" && len(o.Keys) > 0 }

// cache keeps the last origin in a file.
type cache struct {
	path string // "": nothing is kept
	last origin // that was written
}

// write replaces the file in one step when it would say something new. There
// is no fsync: all it holds is in etcd too.
func (c *cache) write(o origin) error {
	if c.path == "" || !o.usable() || reflect.DeepEqual(o, c.last) {
		return nil
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("remember peers: %w", err)
	}
	if err := replace(c.path, raw); err != nil {
		return fmt.Errorf("remember peers: %w", err)
	}
	c.last = o
	return nil
}

// read returns the zero origin when there is no file.
func (c *cache) read() (origin, error) {
	if c.path == "" {
		return origin{}, nil
	}
	raw, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return origin{}, nil
	}
	if err != nil {
		return origin{}, fmt.Errorf("read remembered peers: %w", err)
	}
	var o origin
	if err := json.Unmarshal(raw, &o); err != nil {
		return origin{}, fmt.Errorf("read remembered peers in %s: %w", c.path, err)
	}
	return o, nil
}

// replace writes a file of mode 0600 beside path and moves it there.
func replace(path string, raw []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it was moved
	if _, err := tmp.Write(raw); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
