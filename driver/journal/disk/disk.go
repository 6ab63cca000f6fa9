// Package disk is the journal's file: bbolt, in one transaction a write, all of
// it read before anything of it is believed. A Bucket is for the few words that
// are in no journal.Memory.
package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Journal is an open file.
type Journal struct{ db *bolt.DB }

// Open opens or makes the journal at path, with its folder. Every write is
// on disk when it returns. All of a file is read first; readable reports
// whether a value can be one of the named bucket, nil takes any. The error is
// ErrDamaged when something in it is not as it was written.
func Open(path string, readable func(bucket string, value []byte) bool) (*Journal, error) {
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
	return &Journal{db: db}, nil
}

// Close ends the use of the file.
func (j *Journal) Close() error { return j.db.Close() }

// Write implements File.
func (j *Journal) Write(puts map[journal.Key][]byte, deletes []journal.Key) error {
	err := j.db.Update(func(tx *bolt.Tx) error {
		for k, value := range puts {
			bucket, err := tx.CreateBucketIfNotExists([]byte(k.Bucket))
			if err != nil {
				return err
			}
			if err := bucket.Put([]byte(k.Key), value); err != nil {
				return err
			}
		}
		for _, k := range deletes {
			if bucket := tx.Bucket([]byte(k.Bucket)); bucket != nil {
				if err := bucket.Delete([]byte(k.Key)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// Each implements File.
func (j *Journal) Each(bucket string, f func(key string, value []byte) error) error {
	return j.Bucket(bucket).Each(f)
}

// Bucket returns the bucket of that name; it is made by the first Put.
func (j *Journal) Bucket(name string) *Bucket {
	return &Bucket{db: j.db, name: []byte(name)}
}

// Bucket is one named set of keys.
type Bucket struct {
	db   *bolt.DB
	name []byte
}

// Put writes one key.
func (b *Bucket) Put(key string, value []byte) error {
	return b.PutAll(map[string][]byte{key: value})
}

// PutAll writes several keys with one sync of the disk, all or none.
func (b *Bucket) PutAll(values map[string][]byte) error {
	err := b.db.Update(func(tx *bolt.Tx) error {
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

// Delete removes keys; absent ones are no error.
func (b *Bucket) Delete(key string) error { return b.DeleteAll(key) }

// DeleteAll removes several keys with one sync of the disk.
func (b *Bucket) DeleteAll(keys ...string) error {
	err := b.db.Update(func(tx *bolt.Tx) error {
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
	err = b.db.View(func(tx *bolt.Tx) error {
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
	err := b.db.View(func(tx *bolt.Tx) error {
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
