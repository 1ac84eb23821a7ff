package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"minato/internal/host"
	"minato/internal/runtime/oci"
)

// ErrNotRoot says that the command needs root.
var ErrNotRoot = errors.New("minato makes network namespaces, cgroups and eBPF programs, and needs root for them: run it with sudo")

// RequireRoot returns ErrNotRoot unless the process is root.
func RequireRoot() error {
	if os.Geteuid() != 0 {
		return ErrNotRoot
	}
	return nil
}

// Preflight returns everything that prevents a cluster with the configuration c
// on this machine, not only the first obstacle. It changes nothing.
func Preflight(ctx context.Context, c Config) error {
	if err := RequireRoot(); err != nil {
		return err
	}
	return errors.Join(checkCgroups(), oci.Check(), checkKernel(), checkIPv6(c.IPFamily), checkRanges(c), checkPort(ctx, c), checkEtcd(ctx, c.EtcdServers), checkMounts(c.Mounts), c.Claim.check(Paths{Name: c.Name}.Cgroup()))
}

func checkCgroups() error {
	_, err := host.Cgroups()
	return err
}

// kernelFeatures are files that exist only if the kernel was built with a
// feature.
var kernelFeatures = []struct{ path, missing string }{
	{"/sys/kernel/btf/vmlinux", "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF), which the eBPF programs need: use a kernel 6.6 or later of a common distribution"},
	{"/proc/sys/net/ipv4/ip_forward", "the kernel has no IPv4 forwarding"},
	{"/proc/self/ns/net", "the kernel has no network namespaces (CONFIG_NET_NS)"},
}

func checkKernel() error {
	var errs []error
	for _, f := range kernelFeatures {
		if _, err := os.Stat(f.path); err != nil {
			errs = append(errs, errors.New(f.missing))
		}
	}
	return errors.Join(errs...)
}

// checkIPv6 tells why a cluster that needs IPv6 can't have it.
func checkIPv6(f IPFamily) error {
	if !f.has6() {
		return nil
	}
	const disabled = "net/ipv6/conf/all/disable_ipv6"
	switch v, err := host.ReadSysctl(disabled); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--ip-family %s: the kernel has no IPv6: boot without ipv6.disable=1 or load the module ipv6, or use --ip-family %s", f, IPv4)
	case err != nil:
		return err
	case v != "0":
		return fmt.Errorf("--ip-family %s: IPv6 is switched off on this machine (net.ipv6.conf.all.disable_ipv6=%s): switch it on with `sysctl -w net.ipv6.conf.all.disable_ipv6=0`, or use --ip-family %s", f, v, IPv4)
	}
	return nil
}

// checkRanges looks for routes and addresses of the machine in the ranges
// that the cluster is going to use.
func checkRanges(c Config) error {
	n, err := host.OpenNet(host.Netns{})
	if err != nil {
		return err
	}
	defer n.Close()
	used, err := n.UsedRanges()
	if err != nil {
		return err
	}
	return overlaps(c, used)
}

// overlaps names each range of the cluster that the machine uses already.
func overlaps(c Config, used []host.Used) error {
	own := map[string]bool{Paths{Name: c.Name}.Bridge(): true}
	var errs []error
	for p := range purposes {
		for _, r := range *c.ranges(p) {
			for _, u := range used {
				// What a killed server left of this very cluster is no obstacle.
				if own[u.Link] || u.Link == "" && u.Prefix == r || !u.Prefix.Overlaps(r) {
					continue
				}
				where := "a route"
				if u.Link != "" {
					where = "link " + u.Link
				}
				errs = append(errs, fmt.Errorf("%s %s overlaps %s, which this machine uses already (%s): choose another range with %s", flags[p], r, u.Prefix, where, flags[p]))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// checkPort tries the API server's port on loopback.
func checkPort(ctx context.Context, c Config) error {
	l, err := listenAPI(ctx, c.Loopback(), c.APIPort)
	if err != nil {
		return err
	}
	return l.Close()
}

// etcdTimeout is how long an external etcd has to take a connection.
const etcdTimeout = 3 * time.Second

// checkEtcd tries the endpoints of an external etcd; one that answers is enough.
func checkEtcd(ctx context.Context, endpoints []string) error {
	var errs []error
	for _, endpoint := range endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("--etcd-servers %s: give URLs such as https://10.0.0.5:2379, separated by commas", endpoint)
		}
		d := net.Dialer{Timeout: etcdTimeout}
		conn, err := d.DialContext(ctx, "tcp", u.Host)
		if err == nil {
			conn.Close()
			return nil
		}
		errs = append(errs, fmt.Errorf("--etcd-servers %s does not answer: %w; start it, or correct the address", endpoint, err))
	}
	return errors.Join(errs...)
}

func listenAPI(ctx context.Context, ip netip.Addr, port int) (net.Listener, error) {
	l, err := host.Netns{}.Listen(ctx, "tcp", apiAddress(ip, port))
	if err != nil {
		return nil, fmt.Errorf("the API server's port %d can't be opened on %s: %w; end what uses it (`ss -ltnp 'sport = :%d'` names it), or choose another with --api-port", port, ip, err, port)
	}
	return l, nil
}

func apiAddress(ip netip.Addr, port int) string {
	return net.JoinHostPort(ip.String(), strconv.Itoa(port))
}
