package link

import "io/fs"

// Probe and Answered are the two halves of Ask.
var (
	Probe    = probe
	Answered = answered
)

// SetSys gives the Kernel another sysfs.
func (k *Kernel) SetSys(sys fs.FS) { k.sys = sys }
