// Package disk is the journal's file: bbolt, in one transaction a write, all of
// it read before anything of it is believed; and a file beside it of what need
// not be on disk at once. A Bucket is for the few words that are in no
// journal.Memory.
package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"gvlan/driver/journal"
)

// ErrAbsent is returned by Bucket.Get for a key that is not there.
var ErrAbsent = errors.New("not in the journal")

// openTimeout bounds the wait for another process that has the file open.
// The data directory's lock is taken first, so this only meets a process
// that is about to exit.
const openTimeout = 3 * time.Second

// Journal is an open file, with the one of its recent changes.
type Journal struct {
	db      *bolt.DB
	recent  *recent
	writing sync.Mutex // held by who writes to db until recent knows of it; nobody else waits for it
}

// Where the journal says which recent changes it has.
const (
	markBucket = "recent"
	markKey    = "written"
)

// mark says up to which number the journal has the recent changes. Transaction
// is the one it was written in: when another one came after, an older gvlan
// wrote the journal, and what is left of recent changes is from before that.
type mark struct {
	Seq         uint64 `json:"seq"`
	Transaction int    `json:"transaction"`
}

// Open opens or makes the journal at path, with its folder. Every write is
// on disk when it returns; what was kept (Keep) is read again if boot, the id of
// this boot of the machine, is still the same. All of a file is read first;
// readable reports whether a value can be one of the named bucket, nil takes
// any. The error is ErrDamaged when something in it is not as it was written.
func Open(path, boot string, readable func(bucket string, value []byte) bool) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's folder: %w", err)
	}
	db, err := openFile(path)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	if err := check(db, readable); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, errors.Join(err, db.Close()))
	}
	j := &Journal{db: db}
	if err := j.openRecent(path+recentSuffix, boot); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, errors.Join(err, db.Close()))
	}
	return j, nil
}

// recentSuffix makes the name of the file of recent changes from the journal's.
const recentSuffix = ".recent"

func (j *Journal) openRecent(path, boot string) error {
	var said mark
	believed := false
	err := j.db.View(func(tx *bolt.Tx) error {
		if bucket := tx.Bucket([]byte(markBucket)); bucket != nil {
			err := json.Unmarshal(bucket.Get([]byte(markKey)), &said)
			believed = err == nil && said.Transaction == tx.ID()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if j.recent, err = openRecent(path, boot, said.Seq, believed); err != nil || believed {
		return err
	}
	if err := j.update(func(*bolt.Tx) error { return nil }); err != nil { // from here on it is
		return errors.Join(err, j.recent.close())
	}
	return nil
}

// Close ends the use of the file, with all on disk that was kept.
func (j *Journal) Close() error { return errors.Join(j.Write(nil), j.recent.close(), j.db.Close()) }

// Write implements File.
func (j *Journal) Write(values map[journal.Key][]byte) error {
	if len(values) == 0 && j.recent.settled() {
		return nil
	}
	err := j.update(func(tx *bolt.Tx) error {
		for k, value := range values {
			if err := set(tx, k, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// Keep implements File.
func (j *Journal) Keep(values map[journal.Key][]byte) (due bool, err error) {
	return j.recent.keep(values)
}

// update runs a transaction that has what was kept, in the order it came, and
// then what f does.
func (j *Journal) update(f func(*bolt.Tx) error) error {
	j.writing.Lock()
	defer j.writing.Unlock()
	kept, seq := j.recent.unwritten()
	err := j.db.Update(func(tx *bolt.Tx) error {
		for k, p := range kept {
			if err := set(tx, k, p.value); err != nil {
				return err
			}
		}
		raw, err := json.Marshal(mark{seq, tx.ID()})
		if err != nil {
			return err
		}
		return errors.Join(set(tx, journal.Key{Bucket: markBucket, Key: markKey}, raw), f(tx))
	})
	if err != nil {
		return err
	}
	j.recent.written(seq)
	return nil
}

// set puts a key, or deletes it where it has no value.
func set(tx *bolt.Tx, k journal.Key, value []byte) error {
	if value == nil {
		if bucket := tx.Bucket([]byte(k.Bucket)); bucket != nil {
			return bucket.Delete([]byte(k.Key))
		}
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists([]byte(k.Bucket))
	if err != nil {
		return err
	}
	return bucket.Put([]byte(k.Key), value)
}

// Complete implements File.
func (j *Journal) Complete() bool { return j.recent.complete }

// Each implements File.
func (j *Journal) Each(bucket string, f func(key string, value []byte) error) error {
	kept, _ := j.recent.unwritten()
	for k, p := range kept {
		if k.Bucket != bucket || p.value == nil {
			continue
		}
		if err := f(k.Key, slices.Clone(p.value)); err != nil {
			return err
		}
	}
	return j.Bucket(bucket).each(func(key string, value []byte) error {
		if _, newer := kept[journal.Key{Bucket: bucket, Key: key}]; newer {
			return nil
		}
		return f(key, value)
	})
}

// Bucket returns the bucket of that name; it is made by the first Put.
func (j *Journal) Bucket(name string) *Bucket {
	return &Bucket{journal: j, name: []byte(name)}
}

// Bucket is one named set of keys.
type Bucket struct {
	journal *Journal
	name    []byte
}

// Put writes one key.
func (b *Bucket) Put(key string, value []byte) error {
	return b.PutAll(map[string][]byte{key: value})
}

// PutAll writes several keys with one sync of the disk, all or none.
func (b *Bucket) PutAll(values map[string][]byte) error {
	err := b.journal.update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(b.name)
		if err != nil {
			return err
		}
		for key, value := range values {
			if err := bucket.Put([]byte(key), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write journal bucket %s: %w", b.name, err)
	}
	return nil
}

// Keep is PutAll without a sync of the disk, as Journal.Keep is; a value of nil
// deletes its key.
func (b *Bucket) Keep(values map[string][]byte) error {
	changes := make(map[journal.Key][]byte, len(values))
	for key, value := range values {
		changes[journal.Key{Bucket: string(b.name), Key: key}] = value
	}
	due, err := b.journal.Keep(changes)
	if err == nil && due {
		_ = b.journal.Write(nil) // it is kept, however that goes
	}
	if err != nil {
		return fmt.Errorf("keep in journal bucket %s: %w", b.name, err)
	}
	return nil
}

// Delete removes keys; absent ones are no error.
func (b *Bucket) Delete(key string) error { return b.DeleteAll(key) }

// DeleteAll removes several keys with one sync of the disk.
func (b *Bucket) DeleteAll(keys ...string) error {
	err := b.journal.update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(b.name)
		if bucket == nil {
			return nil
		}
		for _, key := range keys {
			if err := bucket.Delete([]byte(key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete from journal bucket %s: %w", b.name, err)
	}
	return nil
}

// Get reads one key; the error is ErrAbsent when it is not there.
func (b *Bucket) Get(key string) (value []byte, err error) {
	if kept, found := b.journal.recent.value(journal.Key{Bucket: string(b.name), Key: key}); found && kept != nil {
		return kept, nil
	} else if found {
		return nil, fmt.Errorf("read %s from journal bucket %s: %w", key, b.name, ErrAbsent)
	}
	err = b.journal.db.View(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(b.name)
		if bucket == nil {
			return ErrAbsent
		}
		found := bucket.Get([]byte(key))
		if found == nil {
			return ErrAbsent
		}
		value = append([]byte(nil), found...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s from journal bucket %s: %w", key, b.name, err)
	}
	return value, nil
}

// Each calls f for every key in order. The values are f's to keep; f must
// not write to the journal.
func (b *Bucket) Each(f func(key string, value []byte) error) error {
	kept, _ := b.journal.recent.unwritten()
	values := map[string][]byte{}
	err := b.each(func(key string, value []byte) error {
		values[key] = value
		return nil
	})
	if err != nil {
		return err
	}
	for k, p := range kept {
		switch {
		case k.Bucket != string(b.name):
		case p.value == nil:
			delete(values, k.Key)
		default:
			values[k.Key] = slices.Clone(p.value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := f(key, values[key]); err != nil {
			return err
		}
	}
	return nil
}

// each is Each for what the file itself has.
func (b *Bucket) each(f func(key string, value []byte) error) error {
	err := b.journal.db.View(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(b.name)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(k, v []byte) error {
			return f(string(k), append([]byte(nil), v...))
		})
	})
	if err != nil {
		return fmt.Errorf("read journal bucket %s: %w", b.name, err)
	}
	return nil
}
