// Package endpoint is the life of an endpoint on this host: what Docker's calls
// on it do, from create to delete, and what is done inside its container's
// namespace: names, announcements, silence.
package endpoint
