package main

import (
	"encoding/json"
	"os"
)

// control says which calls go wrong. Keys are methods, as in "IpamDriver.RequestPool".
type control struct {
	// Fail makes calls answer this error.
	Fail map[string]string `json:"fail,omitempty"`
	// Drop makes this many calls end without an answer, after their body was read.
	Drop map[string]int `json:"drop,omitempty"`
}

func (r *recorder) readControl() control {
	var c control
	if data, err := os.ReadFile(r.control); err == nil {
		_ = json.Unmarshal(data, &c)
	}
	return c
}

func (r *recorder) fails(method string) string { return r.readControl().Fail[method] }

// drops counts down the method's entry in the control file.
func (r *recorder) drops(method string) bool {
	c := r.readControl()
	if c.Drop[method] == 0 {
		return false
	}
	c.Drop[method]--
	data, err := json.Marshal(c)
	return err == nil && os.WriteFile(r.control, data, 0o644) == nil
}
