package terminal

import (
	"os"
	"unsafe"
)

// HideArgument overwrites an argument of this process with x, so that ps shows it
// no more: /proc/PID/cmdline is read from where the arguments lie, and Go's
// strings are those very bytes (proc(5)). An argument that is none is left as it is.
func HideArgument(argument string) {
	for _, own := range os.Args {
		if len(own) > 0 && unsafe.StringData(own) == unsafe.StringData(argument) {
			bytes := unsafe.Slice(unsafe.StringData(own), len(own))
			for i := range bytes {
				bytes[i] = 'x'
			}
		}
	}
}
