// Package fixed takes an address for an endpoint besides those that it was
// given: the fixed address of a service. It has one holder like every address,
// and those who want it too wait in line.
package fixed
