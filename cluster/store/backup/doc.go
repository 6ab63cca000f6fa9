// Package backup keeps copies of the cluster's store in files, and takes one a
// day.
//
//	file.go    one backup: writing, reading, taking the copy out again
//	daily.go   those a host takes by itself
//
// # The file
//
// A backup is a tar archive of two files, in this order: manifest.json, a
// Manifest, and snapshot.db, the copy as `etcdutl snapshot restore` reads it. So
// it can be looked at, and restored, without gvlan:
//
//	tar -xf FILE snapshot.db && etcdutl snapshot restore snapshot.db
//
// It holds all that the store knows, so it is readable to its owner only. The
// cluster's authority is not in it: members' hosts keep that.
package backup
