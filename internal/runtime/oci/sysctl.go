package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// procSys is where the kernel shows the parameters of the calling thread's
// namespaces, and beside them those of the whole machine.
const procSys = "/proc/sys"

// sysctl is a kernel parameter that belongs to a namespace.
type sysctl struct {
	name  string // as it was asked for
	path  string // below /proc/sys
	value string
}

// podSysctls sorts a sandbox's sysctls by the namespace that they belong to. A
// name that no namespace of the sandbox's own has is an error, whatever the
// caller allows: written, it would change the node or the whole machine. The
// namespaced names are those of the kubelet's sysctl.NamespacedBy; there are
// none for the UTS namespace, since the host name is the Pod's.
func podSysctls(config *runtimeapi.PodSandboxConfig) (net, ipc []sysctl, err error) {
	opts := config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	asked := config.GetLinux().GetSysctls()
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		path, err := sysctlPath(name)
		if err != nil {
			return nil, nil, err
		}
		s := sysctl{name, path, asked[name]}
		switch {
		case strings.HasPrefix(path, "net/"):
			if opts.GetNetwork() == runtimeapi.NamespaceMode_NODE {
				return nil, nil, fmt.Errorf("sysctl %q can't be set for a Pod on the node's network (hostNetwork: true): it would change the node", name)
			}
			net = append(net, s)
		case ipcSysctl(path):
			if opts.GetIpc() == runtimeapi.NamespaceMode_NODE {
				return nil, nil, fmt.Errorf("sysctl %q can't be set for a Pod in the node's IPC namespace (hostIPC: true): it would change the machine", name)
			}
			ipc = append(ipc, s)
		default:
			return nil, nil, fmt.Errorf("sysctl %q belongs to no namespace: it would change the whole machine; remove it from the Pod's spec.securityContext.sysctls and set it on the machine", name)
		}
	}
	return net, ipc, nil
}

// ipcSysctl tells whether the IPC namespace has the parameter (see
// ipc_namespaces(7)).
func ipcSysctl(path string) bool {
	name, kernel := strings.CutPrefix(path, "kernel/")
	if kernel {
		return !strings.Contains(name, "/") && (name == "sem" || strings.HasPrefix(name, "shm") || strings.HasPrefix(name, "msg"))
	}
	return strings.HasPrefix(path, "fs/mqueue/")
}

// sysctlPath is the path of a parameter below /proc/sys. Both spellings are
// accepted, net.ipv4.tcp_syncookies and net/ipv4/tcp_syncookies: the first
// separator tells which one it is, so that names of interfaces may hold the
// other (see sysctl.d(5)). A name that is no plain path downward is refused.
func sysctlPath(name string) (string, error) {
	path := name
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		path = strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	parts := strings.Split(path, "/")
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return "", fmt.Errorf("sysctl %q is not the name of a kernel parameter", name)
		}
	}
	if len(parts) < 2 {
		return "", fmt.Errorf("sysctl %q is not the name of a kernel parameter", name)
	}
	return path, nil
}

// podNetSysctls let containers without privileges bind every port and send
// pings, as every container runtime has it.
var podNetSysctls = [...]sysctl{
	{path: "net/ipv4/ip_unprivileged_port_start", value: "0"},
	{path: "net/ipv4/ping_group_range", value: "0 2147483647"},
}

// setNetDefaults sets podNetSysctls for the calling thread's network
// namespace, as far as the kernel has them.
func setNetDefaults() error {
	for _, s := range podNetSysctls {
		if err := writeSysctls([]sysctl{s}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// writeSysctls sets parameters of the calling thread's namespaces, which must
// be the sandbox's own. The paths are followed below /proc/sys only, and
// nothing is created.
func writeSysctls(values []sysctl) error {
	if len(values) == 0 {
		return nil
	}
	root, err := os.OpenRoot(procSys)
	if err != nil {
		return fmt.Errorf("set sysctls: %w", err)
	}
	defer root.Close()
	for _, s := range values {
		f, err := root.OpenFile(s.path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(s.value)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return fmt.Errorf("set sysctl %s=%s: %w", strings.ReplaceAll(s.path, "/", "."), s.value, err)
		}
	}
	return nil
}
