// Package leases is the commands about addresses: whose one is, which have a
// record, how full the pools are.
package leases
