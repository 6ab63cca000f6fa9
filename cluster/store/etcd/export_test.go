package etcd

import "time"

// AskEvery has the watches of a client ask more often how far they are.
func (e *Client) AskEvery(d time.Duration) { e.progress = d }
