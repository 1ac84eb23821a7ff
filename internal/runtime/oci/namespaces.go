package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// namespaceFiles are where a sandbox's namespaces are pinned; "" is the one
// this process lives in.
type namespaceFiles struct{ net, ipc, uts, pid string }

func (sb *sandbox) namespaceDir() string { return filepath.Join(sb.runDir, "ns") }

// makeNamespaces makes and pins what the sandbox does not share with the node.
func (sb *sandbox) makeNamespaces(hostname string) error {
	dir := sb.namespaceDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if !sb.hostNetwork() {
		if _, err := host.CreateNetnsAt(filepath.Join(dir, "net")); err != nil {
			return err
		}
	}
	flags := unix.CLONE_NEWUTS
	pins := map[string]string{"uts": filepath.Join(dir, "uts")}
	if !sb.hostIPC() {
		flags |= unix.CLONE_NEWIPC
		pins["ipc"] = filepath.Join(dir, "ipc")
	}
	netSysctls, otherSysctls := splitSysctls(sb.state.Config.GetLinux().GetSysctls())
	err := host.OnThrowAwayThread(func() error {
		if err := unix.Unshare(flags); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set host name %q: %w", hostname, err)
		}
		if err := writeSysctls(otherSysctls); err != nil {
			return err
		}
		for kind, path := range pins {
			if err := pinNamespace(kind, path); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return sb.setNetSysctls(netSysctls)
}

// pinned tells whether the sandbox's own namespaces are still there. Every
// sandbox has a UTS namespace, also one on the node's network.
func (sb *sandbox) pinned() bool {
	uts := host.Netns{Path: filepath.Join(sb.namespaceDir(), "uts")}
	return uts.Exists() && sb.netns().Exists()
}

// setNetSysctls sets what the pod asks for, over the values that let
// containers without privileges bind every port and send pings.
func (sb *sandbox) setNetSysctls(asked map[string]string) error {
	if sb.hostNetwork() {
		if len(asked) > 0 {
			return fmt.Errorf("sysctls %s: the pod is on the host's network", strings.Join(keys(asked), ", "))
		}
		return nil
	}
	return host.Netns{Path: sb.netns().Path}.Do(func() error {
		for key, value := range map[string]string{
			"net/ipv4/ip_unprivileged_port_start": "0",
			"net/ipv4/ping_group_range":           "0 2147483647",
		} {
			if err := host.Sysctl(key, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return writeSysctls(asked)
	})
}

func writeSysctls(values map[string]string) error {
	for key, value := range values {
		if err := host.Sysctl(sysctlPath(key), value); err != nil {
			return err
		}
	}
	return nil
}

// sysctlPath takes both spellings, net.ipv4.tcp_syncookies and with slashes.
// The first separator says which, so that interface names may hold dots.
func sysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		key = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	return filepath.Join("/", key)[1:]
}

func splitSysctls(all map[string]string) (net, other map[string]string) {
	net, other = map[string]string{}, map[string]string{}
	for key, value := range all {
		if strings.HasPrefix(sysctlPath(key), "net/") {
			net[key] = value
		} else {
			other[key] = value
		}
	}
	return net, other
}

// pinNamespace keeps a namespace of the calling thread, or of another process
// if kind is a path, by mounting it.
func pinNamespace(kind, path string) error {
	if !strings.HasPrefix(kind, "/") {
		kind = "/proc/thread-self/ns/" + kind
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(kind, path, "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin namespace at %s: %w", path, err)
	}
	return nil
}

// namespaces tells where containers of the sandbox find its namespaces.
func (sb *sandbox) namespaces() namespaceFiles {
	dir := sb.namespaceDir()
	files := namespaceFiles{net: sb.netns().Path, uts: filepath.Join(dir, "uts")}
	if !sb.hostIPC() {
		files.ipc = filepath.Join(dir, "ipc")
	}
	if sb.sharedPID() {
		files.pid = filepath.Join(dir, "pid")
	}
	return files
}

func keys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}
