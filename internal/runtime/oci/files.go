package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

const (
	// shmSize is what every container runtime gives /dev/shm.
	shmSize = "64m"
	// filesSize bounds what containers can write to their /etc/hostname and
	// /etc/resolv.conf.
	filesSize = "256k"
)

// filesDir is a file system of its own: the files in it are mounted into
// containers, which may write to them, and must not fill the node's.
func (sb *sandbox) filesDir() string { return filepath.Join(sb.runDir, "files") }

func (sb *sandbox) hostnameFile() string { return sb.file("hostname") }
func (sb *sandbox) resolvFile() string   { return sb.file("resolv.conf") }
func (sb *sandbox) shmDir() string       { return filepath.Join(sb.runDir, "shm") }

// file is where a file for containers is. Sandboxes that were made before
// there was a directory for them have it one level up.
func (sb *sandbox) file(name string) string {
	if _, err := os.Stat(sb.filesDir()); err != nil {
		return filepath.Join(sb.runDir, name)
	}
	return filepath.Join(sb.filesDir(), name)
}

// writeFiles makes what containers of the sandbox share. It is done before the
// first of them, and the files are never written again.
func (sb *sandbox) writeFiles(hostname string) error {
	if err := os.Mkdir(sb.filesDir(), 0o755); err != nil {
		return err
	}
	if err := host.MountTmpfs(sb.filesDir(), "mode=0755,nr_inodes=16,size="+filesSize); err != nil {
		return err
	}
	if err := os.WriteFile(sb.hostnameFile(), []byte(hostname+"\n"), 0o644); err != nil {
		return err
	}
	resolv, err := resolvConf(sb.state.Config.GetDnsConfig())
	if err != nil {
		return err
	}
	if err := os.WriteFile(sb.resolvFile(), resolv, 0o644); err != nil {
		return err
	}
	if sb.hostIPC() {
		return nil
	}
	if err := os.Mkdir(sb.shmDir(), 0o755); err != nil {
		return err
	}
	return host.MountTmpfs(sb.shmDir(), "mode=1777,size="+shmSize)
}

// resolvConf writes resolv.conf(5); without a configuration it is the host's.
func resolvConf(dns *runtimeapi.DNSConfig) ([]byte, error) {
	if dns == nil {
		data, err := os.ReadFile("/etc/resolv.conf")
		if os.IsNotExist(err) {
			return nil, nil
		}
		return data, err
	}
	var b strings.Builder
	if len(dns.GetSearches()) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.GetSearches(), " "))
	}
	for _, server := range dns.GetServers() {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.GetOptions()) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.GetOptions(), " "))
	}
	return []byte(b.String()), nil
}
