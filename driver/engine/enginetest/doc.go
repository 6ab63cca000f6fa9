// Package enginetest provides a Docker engine in memory for tests of what uses
// driver/engine, and the suite that holds it to what real engines do.
//
// The fake keeps networks and containers, sends the events Docker 28 sends in the
// order it sends them, and can be taken down or made to fail. It calls no plugin:
// a test that needs RequestAddress or Join calls the driver itself.
package enginetest
