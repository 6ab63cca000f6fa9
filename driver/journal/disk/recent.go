package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"strconv"
	"sync"

	"gvlan/driver/journal"
)

// What need not be on disk before anybody acts on it is appended to a file
// beside the journal with one write and no sync: it outlives this process, and
// this boot's page cache is all it needs. The next write of the journal takes
// it along. After a reboot nobody knows how much of the file reached the disk,
// so it is not believed then.
//
// The file has one line a change, each behind its checksum; the first names the
// boot. Lines are numbered, and the journal says in the same transaction up to
// which it has them, so that the file need not be cut at the same moment.

const (
	// dueAt is the size in bytes at which a write of the journal is due.
	dueAt = 1 << 20
	// refusedAt is what the file never grows beyond: writes of the journal have
	// failed for long.
	refusedAt = 4 * dueAt
	// anewAt is the size from which it begins anew once its lines are in the
	// journal.
	anewAt = dueAt / 4
)

// ErrRecentFull is returned by Keep while the journal cannot be written.
var ErrRecentFull = errors.New("the journal cannot be written, and the file of its recent changes is full")

// recent is that file, and what of it the journal does not have yet.
type recent struct {
	path, boot string
	complete   bool // the file was of this boot when it was opened

	mu      sync.Mutex // guards what follows; held across one write, never across a sync
	file    *os.File
	size    int64  // of its good lines; what is behind it is overwritten
	seq     uint64 // the last change's number
	pending map[journal.Key]pending
}

// pending is a value that the journal does not have yet; nil when the key is
// gone.
type pending struct {
	value []byte
	seq   uint64
}

// line is one of the file. The first has a boot and nothing else.
type line struct {
	Boot   string  `json:"boot,omitempty"`
	Seq    uint64  `json:"seq,omitempty"`
	Values []value `json:"values,omitempty"`
}

type value struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Value  []byte `json:"value"` // null: the key is gone
}

// encode writes a line as the file has it.
func (l line) encode() ([]byte, error) {
	raw, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(raw), raw), nil
}

// decodeLine reads one line without its end; false when it is not as it was
// written.
func decodeLine(raw []byte) (l line, ok bool) {
	sum, text, found := bytes.Cut(raw, []byte{' '})
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !found || err != nil || uint32(want) != crc32.ChecksumIEEE(text) {
		return line{}, false
	}
	return l, json.Unmarshal(text, &l) == nil
}

// openRecent opens or makes the file. What it holds beyond the number written
// is pending, if it is of this boot and believed.
func openRecent(path, boot string, written uint64, believed bool) (*recent, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal's recent changes: %w", err)
	}
	r := &recent{path: path, boot: boot, file: file, seq: written, pending: map[journal.Key]pending{}}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the journal's recent changes: %w", err), file.Close())
	}
	if believed && boot != "" && r.read(raw, written) {
		r.complete = true
		return r, nil
	}
	if err := r.begin(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

// read enters the lines of a file up to the first that is not whole, and
// reports whether it is of this boot.
func (r *recent) read(raw []byte, written uint64) (same bool) {
	for first := true; ; first = false {
		text, rest, whole := bytes.Cut(raw, []byte{'\n'})
		l, ok := decodeLine(text)
		if !whole || !ok || first && l.Boot != r.boot {
			return !first
		}
		r.size += int64(len(raw) - len(rest))
		raw = rest
		r.seq = max(r.seq, l.Seq)
		if l.Seq > written {
			r.enter(l)
		}
	}
}

func (r *recent) enter(l line) {
	for _, v := range l.Values {
		r.pending[journal.Key{Bucket: v.Bucket, Key: v.Key}] = pending{v.Value, l.Seq}
	}
}

// begin empties the file.
func (r *recent) begin() error {
	err := r.file.Truncate(0)
	if err == nil {
		r.size = 0
		err = r.head()
	}
	if err != nil {
		return fmt.Errorf("begin the journal's recent changes anew: %w", err)
	}
	return nil
}

// head writes the first line, if the file has none: a disk that was full may
// have taken the old one's end and not the new one's beginning.
func (r *recent) head() error {
	if r.size > 0 {
		return nil
	}
	head, err := line{Boot: r.boot}.encode()
	if err == nil {
		_, err = r.file.WriteAt(head, 0)
	}
	if err == nil {
		r.size = int64(len(head))
	}
	return err
}

// keep appends a change. It is pending also when the file does not take it,
// which the error tells.
func (r *recent) keep(values map[journal.Key][]byte) (due bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	l := line{Seq: r.seq}
	for k, v := range values {
		l.Values = append(l.Values, value{k.Bucket, k.Key, v})
	}
	r.enter(l)
	raw, err := l.encode()
	if err == nil && r.size+int64(len(raw)) > refusedAt {
		return true, ErrRecentFull
	}
	if err == nil {
		err = r.head()
	}
	if err == nil {
		_, err = r.file.WriteAt(raw, r.size)
	}
	if err != nil {
		return false, fmt.Errorf("keep a change of the journal: %w", err)
	}
	r.size += int64(len(raw))
	return r.size > dueAt, nil
}

// value returns what is pending of a key.
func (r *recent) value(k journal.Key) (value []byte, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, found := r.pending[k]
	return bytes.Clone(p.value), found
}

// settled reports whether nothing is pending.
func (r *recent) settled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending) == 0
}

// unwritten returns what is pending, and the number of its last change.
func (r *recent) unwritten() (map[journal.Key]pending, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.pending), r.seq
}

// written tells that the journal has every change up to a number.
func (r *recent) written(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.pending, func(_ journal.Key, p pending) bool { return p.seq <= seq })
	if r.size <= anewAt {
		return
	}
	if len(r.pending) == 0 {
		// One that could not be emptied is longer, and no less true.
		_ = r.begin()
		return
	}
	_ = r.rewrite()
}

// rewrite replaces the file by one of what is pending.
func (r *recent) rewrite() error {
	head, err := line{Boot: r.boot}.encode()
	if err != nil {
		return err
	}
	all := bytes.NewBuffer(head)
	for k, p := range r.pending {
		raw, err := line{Seq: p.seq, Values: []value{{k.Bucket, k.Key, p.value}}}.encode()
		if err != nil {
			return err
		}
		all.Write(raw)
	}
	next := r.path + ".new"
	file, err := os.OpenFile(next, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = file.Write(all.Bytes()); err == nil {
		err = os.Rename(next, r.path)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	old := r.file
	r.file, r.size = file, int64(all.Len())
	return old.Close()
}

func (r *recent) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.file.Close()
}
