// Package slack lets the timers of this process come a little late while it is idle, so
// that the kernel wakes it once for many of them. A control plane has some hundred
// timers that look again and again whether there is something to do, each a fraction of
// a second apart; one by one they are most of what an idle cluster costs. Timers of a
// process at work are exact.
package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// idleSlack is how late timers may come while the process is idle, exactSlack what
	// the kernel gives by itself (prctl(2), PR_SET_TIMERSLACK).
	idleSlack  = 50 * time.Millisecond
	exactSlack = 50 * time.Microsecond
	// idleAfter is how long nobody has to have said that there is work.
	idleAfter = 2 * time.Second
	// passes bounds how often the threads are listed: one that began meanwhile has the
	// slack of the one that began it.
	passes = 3
)

// Keeper keeps the slack of this process. There should be one in a process.
type Keeper struct {
	log *slog.Logger
	dir string // of the threads, /proc

	began time.Time
	last  atomic.Int64 // when there was work, in nanoseconds since began: the clock may be set
	idle  atomic.Bool
	mu    sync.Mutex // of the threads' slack
	told  bool
}

// New returns a Keeper of which all timers are exact until Run.
func New(log *slog.Logger) *Keeper { return &Keeper{log: log, dir: "/proc", began: time.Now()} }

// Work says that somebody works: timers are exact from now on, until nobody has said so
// for a while. It can be called often.
func (k *Keeper) Work() {
	k.last.Store(int64(time.Since(k.began)))
	if k.idle.Load() {
		k.set(false)
	}
}

// Run lets the process be idle, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(idleAfter)
	defer tick.Stop()
	defer k.set(false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if k.idle.Load() || !k.calm() {
			continue
		}
		k.set(true)
		if !k.calm() { // somebody began to work meanwhile, who may have seen that timers were exact
			k.set(false)
		}
	}
}

// calm tells whether nobody has said that there is work for a while.
func (k *Keeper) calm() bool { return time.Since(k.began)-time.Duration(k.last.Load()) >= idleAfter }

// set gives all threads the slack of a process that is idle, or is not.
func (k *Keeper) set(idle bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.idle.Swap(idle) == idle {
		return
	}
	slack := exactSlack
	if idle {
		slack = idleSlack
	}
	done := map[string]bool{}
	for range passes {
		news, err := k.pass(slack, done)
		if err != nil && !k.told {
			k.told = true
			k.log.Warn("timers can't be put together while the cluster is idle, which costs some processor time", "error", err)
		}
		if news == 0 || err != nil {
			return
		}
	}
}

// pass sets the slack of the threads that are not done, and tells how many there were.
func (k *Keeper) pass(slack time.Duration, done map[string]bool) (int, error) {
	threads, err := os.ReadDir(k.dir + "/self/task")
	if err != nil {
		return 0, err
	}
	news := 0
	for _, t := range threads {
		if done[t.Name()] {
			continue
		}
		done[t.Name()] = true
		news++
		err := os.WriteFile(k.dir+"/"+t.Name()+"/timerslack_ns", fmt.Append(nil, slack.Nanoseconds()), 0)
		if err != nil && !gone(err) {
			return news, err
		}
	}
	return news, nil
}

// gone tells whether a thread has ended meanwhile.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) }
