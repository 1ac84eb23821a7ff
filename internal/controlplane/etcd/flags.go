package etcd

import (
	"fmt"
	"strings"
)

// Flags are the effective configuration of a server as flags of upstream's program.
func Flags(cfg Config) []string {
	s := &Server{cfg: cfg}
	c := s.embedConfig()
	var clients []string
	for _, u := range c.ListenClientUrls {
		clients = append(clients, u.String())
	}
	out := []string{
		"--data-dir=" + c.Dir,
		"--listen-client-urls=" + strings.Join(clients, ","),
		"--listen-peer-urls=",
		"--name=" + c.Name,
		fmt.Sprintf("--quota-backend-bytes=%d", c.QuotaBackendBytes),
		fmt.Sprintf("--snapshot-count=%d", c.SnapshotCount),
	}
	if c.UnsafeNoFsync {
		out = append(out, "--unsafe-no-fsync=true")
	}
	return out
}
