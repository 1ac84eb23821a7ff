package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

// choose fills in the ranges that c leaves out: the usual ones or, where these are
// taken, others that are free. It returns the flags and values of those that are
// not the usual ones.
func (t taken) choose(c Config) (_ Config, chosen []string, err error) {
	families := c.IPFamily.families()
	for p := range purposes {
		if len(*c.ranges(p)) > 0 {
			continue
		}
		var mine Ranges
		for i, f := range families {
			r, ok := t.free(f.rules[p], t.beside(c, p, i))
			if !ok {
				return c, nil, SettingError{fmt.Errorf("the machine's routes and clusters leave no %s range free of those that are tried: give one with %s", f.name, flags[p])}
			}
			mine = append(mine, r)
		}
		*c.ranges(p) = mine
		if !slices.Equal(mine, c.IPFamily.defaults(p)) {
			chosen = append(chosen, fmt.Sprintf("%s %s", flags[p], mine))
		}
	}
	return c, chosen, nil
}

// portsTried is how many ports are looked at for a free one.
const portsTried = 100

// choosePort returns the usual port of an API server, or the next that no cluster
// has and that is free.
func (t taken) choosePort(free func(port int) bool) (int, error) {
	for port := defaultAPIPort; port < defaultAPIPort+portsTried; port++ {
		if !slices.ContainsFunc(t.clusters, func(c Config) bool { return c.APIPort == port }) && free(port) {
			return port, nil
		}
	}
	return 0, SettingError{fmt.Errorf("no port from %d to %d is free for the API server: give one with --api-port", defaultAPIPort, defaultAPIPort+portsTried-1)}
}

func portIsFree(ctx context.Context, ip netip.Addr, port int) bool {
	l, err := listenAPI(ctx, ip, port)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// lockChoice lets one start at a time choose, until unlock is called: two that
// look at the same time would choose the same.
func lockChoice(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(dataRoot, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.Open(dataRoot)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() {
				removeEmpty(dataRoot) // a start that was refused leaves nothing
				dir.Close()
			}, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			dir.Close()
			return nil, fmt.Errorf("lock %s: %w", dataRoot, err)
		}
		select {
		case <-ctx.Done():
			dir.Close()
			return nil, fmt.Errorf("another start is choosing its ranges: %w", context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}
