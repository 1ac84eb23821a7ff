package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// shmSize is what every container runtime gives /dev/shm.
const shmSize = "64m"

func (sb *sandbox) hostnameFile() string { return filepath.Join(sb.runDir, "hostname") }
func (sb *sandbox) resolvFile() string   { return filepath.Join(sb.runDir, "resolv.conf") }
func (sb *sandbox) shmDir() string       { return filepath.Join(sb.runDir, "shm") }

// writeFiles makes what containers of the sandbox share.
func (sb *sandbox) writeFiles(hostname string) error {
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
