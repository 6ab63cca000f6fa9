// Package host is what every service of the driver has: this host's memory,
// kernel and engine, the cluster's records as it follows them, what fails and
// is tried again, and how the services wake each other. It decides nothing.
package host
