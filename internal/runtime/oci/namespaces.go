package oci

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// namespaceFiles are the paths at which a sandbox's namespaces are pinned. An
// empty path means the namespace of this process.
type namespaceFiles struct{ net, ipc, uts, pid, user string }

func (sb *sandbox) namespaceDir() string { return filepath.Join(sb.runDir, "ns") }

// makeNamespaces makes and pins what the sandbox does not share with the node.
func (sb *sandbox) makeNamespaces(hostname string) error {
	dir := sb.namespaceDir()
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
	netSysctls, ipcSysctls, err := podSysctls(sb.state.Config)
	if err != nil {
		return err
	}
	err = host.OnThrowAwayThread(func() error {
		if err := unix.Unshare(flags); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set host name %q: %w", hostname, err)
		}
		if err := writeSysctls(ipcSysctls); err != nil {
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

// setNetSysctls sets the defaults of every Pod's network namespace, and then
// what the Pod asks for.
func (sb *sandbox) setNetSysctls(asked []sysctl) error {
	if sb.hostNetwork() {
		return nil // podSysctls has seen to it that nothing is asked for
	}
	return host.Netns{Path: sb.netns().Path}.Do(func() error {
		if err := setNetDefaults(); err != nil {
			return err
		}
		return writeSysctls(asked)
	})
}

// pinNamespace keeps a namespace of the calling thread by mounting it.
func pinNamespace(kind, path string) error {
	return host.PinNamespace("/proc/thread-self/ns/"+kind, path)
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
	if sb.users() != nil {
		files.user = filepath.Join(dir, "user")
	}
	return files
}
