// Package heap decides how far this process's heap may grow between two garbage
// collections: little while the process is idle, as a cluster on a developer's
// machine is nearly all the time, and more while it is at work, when collecting
// twice a second would take a fifth of the processor from the work itself.
package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"minato/internal/host"
)

// How much garbage may pile up, in percent of what is in use.
const (
	calmPercent = 50
	busyPercent = 200
	// startPercent is for a start: most of what it allocates stays, so collecting it
	// again and again only costs time.
	startPercent = 1000
)

const (
	// busyInterval is the time between two collections from which on the process is at
	// work, and calmAfter the time without any after which it no longer is.
	busyInterval = 2 * time.Second
	calmAfter    = 5 * time.Second
	// Garbage may take this part of the machine's free memory, and so many bytes at
	// most, beyond what it takes of an idle process.
	memoryShare = 4
	mostExtra   = 256 << 20
)

// pace is the process's.
var pace = pacer{set: debug.SetGCPercent, memory: memory}

// Pace keeps the heap close to what is in use while the process is idle, and
// lets it grow while it is not. It does nothing if the environment's GOGC says
// what is wanted.
func Pace() {
	if os.Getenv("GOGC") != "" {
		return
	}
	pace.begin()
	eachCollection(func() { pace.collected(time.Now()) })
}

// Relax suspends the usual collection until the returned function is called,
// which also gives the memory that is free then back to the system. What it
// returns may be called more than once.
func Relax() (restore func()) {
	return sync.OnceFunc(pace.relax())
}

// pacer holds the heap's growth to what the process's state asks for.
type pacer struct {
	set    func(percent int) (before int)
	memory func() (inUse, available int64)

	mu      sync.Mutex
	paced   bool
	relaxed int
	before  int // what was set when it was first relaxed, unless it is paced
	busy    bool
	last    time.Time
	calm    *time.Timer
}

func (p *pacer) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paced = true
	p.apply()
}

// collected hears that the heap was collected.
func (p *pacer) collected(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	soon := !p.last.IsZero() && now.Sub(p.last) < busyInterval
	p.last = now
	if soon && !p.busy && p.relaxed == 0 {
		p.busy = true
		p.calm = time.AfterFunc(calmAfter, p.rest)
		p.apply()
	} else if p.busy {
		p.calm.Reset(calmAfter)
	}
}

// rest ends the time in which the process was at work.
func (p *pacer) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
	p.apply()
}

func (p *pacer) relax() (restore func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.relaxed++
	before := p.set(startPercent)
	if p.relaxed == 1 {
		p.before = before
	}
	return func() {
		p.mu.Lock()
		p.relaxed--
		p.apply()
		p.mu.Unlock()
		debug.FreeOSMemory()
	}
}

// apply is called with the lock held.
func (p *pacer) apply() {
	switch {
	case p.relaxed > 0:
	case !p.paced:
		p.set(p.before)
	case p.busy:
		p.set(affordable(p.memory()))
	default:
		p.set(calmPercent)
	}
}

// affordable is how far a busy process's heap may grow where so many bytes are
// in use and so many are free on the machine.
func affordable(inUse, available int64) (percent int) {
	extra := min(available/memoryShare, mostExtra) * 100 / max(inUse, 1)
	return int(min(calmPercent+extra, busyPercent))
}

// memory tells how many bytes are in use and how many are free on the machine.
func memory() (inUse, available int64) {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m, err := host.MachineMemory()
	if err != nil {
		return int64(stats.HeapAlloc), 0
	}
	return int64(stats.HeapAlloc), m.Available
}

// token is an object that nothing refers to: its finalizer runs after each
// collection.
type token struct {
	collected func()
}

func eachCollection(collected func()) {
	runtime.SetFinalizer(&token{collected}, (*token).again)
}

func (t *token) again() {
	t.collected()
	runtime.SetFinalizer(t, (*token).again)
}
