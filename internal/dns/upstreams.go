package dns

import (
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// StaticUpstreams always returns the same resolvers.
func StaticUpstreams(addrs ...netip.AddrPort) func() []netip.AddrPort {
	return func() []netip.AddrPort { return addrs }
}

// resolvConfEvery is how often a resolv.conf file is checked for changes.
const resolvConfEvery = 5 * time.Second

// ResolvConf returns the name servers of a resolv.conf file and follows its changes.
// For a file that is missing or cannot be read it returns none.
func ResolvConf(path string) func() []netip.AddrPort {
	f := &resolvFile{path: path}
	return f.servers
}

type resolvFile struct {
	path string

	mu      sync.Mutex
	looked  time.Time
	stamp   time.Time
	current []netip.AddrPort
}

func (f *resolvFile) servers() []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.looked.IsZero() && time.Since(f.looked) < resolvConfEvery {
		return f.current
	}
	first := f.looked.IsZero()
	f.looked = time.Now()
	info, err := os.Stat(f.path)
	if err != nil {
		f.current, f.stamp = nil, time.Time{}
		return nil
	}
	if !first && info.ModTime().Equal(f.stamp) {
		return f.current
	}
	f.stamp = info.ModTime()
	f.current = readResolvConf(f.path)
	return f.current
}

func readResolvConf(path string) []netip.AddrPort {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil
	}
	port, err := strconv.ParseUint(conf.Port, 10, 16)
	if err != nil {
		return nil
	}
	var out []netip.AddrPort
	for _, s := range conf.Servers {
		if addr, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.AddrPortFrom(addr.Unmap(), uint16(port)))
		}
	}
	return out
}

// ResolvSearch returns the search domains of a resolv.conf file. It reads the file at
// each call, because few questions need the domains.
func ResolvSearch(path string) func() []string {
	return func() []string {
		conf, err := dns.ClientConfigFromFile(path)
		if err != nil {
			return nil
		}
		return conf.Search
	}
}
