package main

import (
	"runtime"
	"time"

	"gvlan/cluster/store"
	"gvlan/dns/zone"
)

// endpoints is how many containers the memory is measured with. Each has
// two names (its own and its short id) and a reverse name.
const endpoints = 100_000

// memory measures a zone of many names: what it holds, how long the first
// list takes until it serves, and what one change costs then.
func memory() error {
	zone, err := zone.New(zone.Config{Node: node})
	if err != nil {
		return err
	}
	items := make([]store.Item, endpoints)
	for i := range items {
		items[i] = item(i)
	}
	fill(zone, 0)
	before := heap()
	begin := time.Now()
	zone.ApplyEndpoints(store.Change{Reset: true, Items: items})
	report("dns_list_100k_ms", float64(time.Since(begin).Microseconds())/1000)
	report("dns_memory_100k_mb", float64(heap()-before)/1e6)
	key := items[5].Key
	var applied []float64
	for range 1000 {
		begin := time.Now()
		zone.ApplyEndpoints(store.Change{Events: []store.Event{{Item: store.Item{Key: key}, Deleted: true}}})
		zone.ApplyEndpoints(store.Change{Events: []store.Event{{Item: items[5]}}})
		applied = append(applied, float64(time.Since(begin).Microseconds())/2000)
	}
	report("dns_apply_one_at_100k_ms", median(applied))
	runtime.KeepAlive(items)
	runtime.KeepAlive(zone)
	return nil
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
