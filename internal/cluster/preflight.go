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
	"minato/internal/node/spec"
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
// on this machine, not only the first obstacle. It changes nothing. known says
// that the cluster has its settings from an earlier start.
func Preflight(ctx context.Context, c Config, known bool) error {
	if err := RequireRoot(); err != nil {
		return err
	}
	return errors.Join(checkCgroups(), checkRuntimes(ctx, c), checkHandlers(c.RuntimeHandlers), checkKernel(), checkIPv6(c.IPFamily), checkRanges(c, known), checkPort(ctx, c, known), checkEtcd(ctx, c.EtcdServers), checkMounts(c.Mounts), c.Registries.check(), c.checkClaims())
}

func checkHandlers(handlers map[string]string) error {
	if err := oci.CheckHandlers(handlers); err != nil {
		return fmt.Errorf("--runtime-handler: %w", err)
	}
	return nil
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
func checkRanges(c Config, known bool) error {
	t, err := findTaken(c.Name)
	if err != nil {
		return err
	}
	var errs []error
	for _, clash := range t.clashes(c, known) {
		errs = append(errs, clash)
	}
	return errors.Join(errs...)
}

// findTaken looks at what a cluster of that name has to keep clear of.
func findTaken(name string) (taken, error) {
	n, err := host.OpenNet(host.Netns{})
	if err != nil {
		return taken{}, err
	}
	defer n.Close()
	used, err := n.UsedRanges()
	if err != nil {
		return taken{}, err
	}
	t := taken{machine: used, clusters: others(name)}
	if text, err := os.ReadFile(hostResolvConf); err == nil {
		for _, server := range spec.ParseResolvConf(string(text)).Servers {
			if ip, err := netip.ParseAddr(server); err == nil {
				t.resolvers = append(t.resolvers, ip)
			}
		}
	}
	return t, nil
}

// checkPort tries the API server's port on loopback.
func checkPort(ctx context.Context, c Config, known bool) error {
	l, err := listenAPI(ctx, c.Loopback(), c.APIPort)
	if err == nil {
		return l.Close()
	}
	for _, other := range others(c.Name) {
		if pid, _ := serverPID(Paths{Name: other.Name}); pid == 0 || other.APIPort != c.APIPort {
			continue
		}
		if known {
			return fmt.Errorf("the API server's port %d is that of the cluster %q, which is up: end that one first with `minato down%s`", c.APIPort, other.Name, nameFlag(other.Name))
		}
		return fmt.Errorf("--api-port %d is that of the cluster %q, which is up: leave --api-port out, and `up` takes a free one", c.APIPort, other.Name)
	}
	return err
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
