package podnet

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// ErrExhausted says that every address of the node's range is taken.
var ErrExhausted = errors.New("no free Pod address is left in the node's range: delete Pods of this node, or start the cluster with a larger --pod-cidr per node")

// addresses hands out the addresses of one range and remembers on disk whose
// they are, one file an address, so that a restart finds them again.
type addresses struct {
	dir    string
	prefix netip.Prefix

	mu    sync.Mutex
	owner map[netip.Addr]string
	last  netip.Addr // search starts after it, so that an address rests before it is used again
}

func openAddresses(dir string, prefix netip.Prefix) (*addresses, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("open Pod addresses: %w", err)
	}
	a := &addresses{dir: dir, prefix: prefix.Masked(), owner: map[netip.Addr]string{}}
	a.last = a.gateway()
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open Pod addresses: %w", err)
	}
	for _, f := range files {
		ip, err := netip.ParseAddr(f.Name())
		if err != nil || !prefix.Contains(ip) {
			continue
		}
		id, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, fmt.Errorf("open Pod addresses: %w", err)
		}
		a.owner[ip] = strings.TrimSpace(string(id))
		if a.last.Less(ip) {
			a.last = ip
		}
	}
	return a, nil
}

// gateway is the first address of the range: Pods send to it, but no interface
// has it.
func (a *addresses) gateway() netip.Addr { return a.prefix.Addr().Next() }

// allocate returns the address of id, the same one each time it is asked.
func (a *addresses) allocate(id string) (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ip, owner := range a.owner {
		if owner == id {
			return ip, nil
		}
	}
	first := a.after(a.last)
	for ip, tried := first, false; !tried || ip != first; ip, tried = a.after(ip), true {
		if _, taken := a.owner[ip]; taken {
			continue
		}
		if err := os.WriteFile(filepath.Join(a.dir, ip.String()), []byte(id), 0o644); err != nil {
			return netip.Addr{}, fmt.Errorf("record Pod address %s: %w", ip, err)
		}
		a.owner[ip], a.last = id, ip
		return ip, nil
	}
	return netip.Addr{}, fmt.Errorf("allocate an address in %s: %w", a.prefix, ErrExhausted)
}

// after returns the next address that a Pod can have, starting over at the end
// of the range: not the network's, the gateway's or the broadcast address.
func (a *addresses) after(ip netip.Addr) netip.Addr {
	next := ip.Next()
	if !a.prefix.Contains(next) || !a.prefix.Contains(next.Next()) {
		return a.gateway().Next()
	}
	return next
}

// lookup returns the address of id; ok is false where it has none.
func (a *addresses) lookup(id string) (netip.Addr, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ip, owner := range a.owner {
		if owner == id {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// owners lists those that have an address.
func (a *addresses) owners() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.owner))
}

func (a *addresses) release(ip netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := os.Remove(filepath.Join(a.dir, ip.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release Pod address %s: %w", ip, err)
	}
	delete(a.owner, ip)
	return nil
}
