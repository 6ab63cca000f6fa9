package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// serveWord is the argument with which this program is etcd.
const serveWord = "serve-etcd"

// quota is room for a million leases and what was before them.
const quota = 6 << 30

// serve runs etcd, as it is by default, with a folder and a port of this host
// until standard input ends.
func serve(dir, address string) error {
	c := embed.NewConfig()
	c.Dir, c.QuotaBackendBytes, c.LogLevel = dir, quota, "fatal" // it reports each listener it closes as an error
	c.ListenClientUrls = []url.URL{{Scheme: "http", Host: address}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.ListenPeerUrls = nil
	server, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Close()
	return nil
}

// freeAddress is one of this network namespace that nobody listens on; all that
// run in it are the bench's.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// onDisk refuses a folder in memory, where a sync costs nothing.
func onDisk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		return fmt.Errorf("%s is in memory: give with -dir a folder on the disk that is to be measured", dir)
	}
	return nil
}

// etcd is one that runs, and a client of it.
type etcd struct {
	dir      string
	endpoint string
	raw      *clientv3.Client
	process  *exec.Cmd
	life     io.Closer
	keys     atomic.Int64   // fresh ones so far
	value    string         // of raw writes, as long as a lease's
	program  string         // gvlan itself, once an agent was started
	users    []func() error // ends of what uses it, the last one first
}

// etcd starts one with a folder of the room's.
func (b *bench) etcd(ctx context.Context, room string) (_ *etcd, err error) {
	e := &etcd{dir: filepath.Join(b.dir, room), value: strings.Repeat("x", 250)}
	data := filepath.Join(e.dir, "etcd")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e.process = exec.Command(self, serveWord, data, address)
	e.process.Stderr = os.Stderr
	if e.life, err = e.process.StdinPipe(); err != nil {
		return nil, err
	}
	if err := e.process.Start(); err != nil {
		return nil, err
	}
	e.endpoint = "http://" + address
	if e.raw, err = e.connect(); err == nil {
		err = e.answers(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *etcd) connect() (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{e.endpoint}, Logger: zap.NewNop()})
}

func (e *etcd) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		one, end := context.WithTimeout(ctx, time.Second)
		_, err := e.raw.Get(one, "/")
		end()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// close ends etcd, after what uses it, and removes what the room wrote.
func (e *etcd) close() error {
	var err error
	for _, end := range slices.Backward(e.users) {
		err = errors.Join(err, end())
	}
	err = errors.Join(err, e.life.Close())
	if e.raw != nil {
		err = errors.Join(err, e.raw.Close())
	}
	return errors.Join(err, e.process.Wait(), os.RemoveAll(e.dir))
}

func (e *etcd) fresh() string { return fmt.Sprintf("/bench/fresh/%012d", e.keys.Add(1)) }

// put is P.
func (e *etcd) put(ctx context.Context) error {
	_, err := e.raw.Put(ctx, e.fresh(), e.value)
	return err
}

// create is T.
func (e *etcd) create(ctx context.Context) error {
	key := e.fresh()
	reply, err := e.raw.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(clientv3.OpPut(key, e.value)).Commit()
	if err == nil && !reply.Succeeded {
		err = fmt.Errorf("key %s is there", key)
	}
	return err
}

// load writes many keys, as fast as it goes.
func (e *etcd) load(ctx context.Context, count int, item func(i int) (key, value string)) error {
	const each = 120 // of one transaction; etcd takes 128
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for from := 0; from < count; from += each {
		group.Go(func() error {
			var ops []clientv3.Op
			for i := from; i < min(from+each, count); i++ {
				key, value := item(i)
				ops = append(ops, clientv3.OpPut(key, value))
			}
			_, err := e.raw.Txn(inGroup).Then(ops...).Commit()
			return err
		})
	}
	return group.Wait()
}
