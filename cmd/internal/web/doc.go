// Package web is the page that shows a cluster to people with a browser: networks,
// the addresses of their subnets, hosts, names and what happened lately.
//
// Every page is made here, of the agent's own answers to its commands, and works
// without a script; with one it follows what changes. Nothing can be changed by it.
//
//	site.go      which path is which view, and what a browser is forbidden
//	page.go      how a view becomes HTML
//	live.go      when the pages that are open look again
//	crowd.go     how much readers have the agent do at once
//	reading.go   the answers themselves, as JSON
//	openapi.go   which those are, and their description
//	looks.go     how a state of an address is shown wherever it is
//	networks.go  and the others: a view each, beside html/NAME.html
package web
