package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Sysctl sets a value of this thread's namespaces by its path under
// /proc/sys, such as "net/ipv4/ip_forward".
func Sysctl(path, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", strings.ReplaceAll(path, "/", "."), value, err)
	}
	return nil
}

// ReadSysctl returns a value by its path under /proc/sys.
func ReadSysctl(path string) (string, error) {
	data, err := os.ReadFile(filepath.Join("/proc/sys", path))
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", strings.ReplaceAll(path, "/", "."), err)
	}
	return strings.TrimSpace(string(data)), nil
}

// Sysctls sets several values inside the namespace, skipping those that this
// kernel does not have (IPv6 may be compiled out or disabled).
func (n Netns) Sysctls(values map[string]string) error {
	return n.Do(func() error {
		for path, value := range values {
			if err := Sysctl(path, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// EnableIPv6 switches IPv6 on in the namespace for links that come later. Their
// addresses can be used at once: they are unique by allocation, so duplicate
// address detection is off, and so are router advertisements.
func (n Netns) EnableIPv6() error {
	values := ownIPv6("net/ipv6/conf/default")
	values["net/ipv6/conf/all/disable_ipv6"] = "0" // the loopback's too
	return n.Sysctls(values)
}

// ownIPv6 are the settings of a link of ours, or of those to come.
func ownIPv6(conf string) map[string]string {
	return map[string]string{conf + "/disable_ipv6": "0", conf + "/accept_dad": "0", conf + "/accept_ra": "0"}
}
