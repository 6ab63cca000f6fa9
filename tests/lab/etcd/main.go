// Command etcd is etcd, of the version this module's go.mod names, with its own
// flags: Debian 12 has none that is new enough.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
