package link

import "io/fs"

// SetSys gives the Kernel another sysfs.
func (k *Kernel) SetSys(sys fs.FS) { k.sys = sys }
