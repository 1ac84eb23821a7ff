package controlplane

import (
	"runtime/debug"
	"sync"
)

// startGCPercent lets the heap grow while the start allocates: most of what it
// allocates stays, so collecting it again and again only costs time.
const startGCPercent = 1000

// relaxGC suspends the usual collection until the returned function is called,
// which also gives the memory that is free then back to the system.
func relaxGC() (restore func()) {
	before := debug.SetGCPercent(startGCPercent)
	return sync.OnceFunc(func() {
		debug.SetGCPercent(before)
		debug.FreeOSMemory()
	})
}
