package proxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/host"
)

// part names the directories of the proxy.
const part = "proxy"

// places are the directories that the proxy uses on the machine. Finding them changes nothing.
type places struct {
	foreign.Places
	// cgroup is a directory of cgroup2, to be mounted there if mount is set.
	cgroup string
	mount  bool
}

// ownCgroup is where cgroup2 is mounted on a machine that has it nowhere.
func ownCgroup() string { return filepath.Join(foreign.RunDir(part), "cgroup") }

func findPlaces(cfg *Config) (places, error) {
	found, err := foreign.FindPlaces(part, cfg.BPFDir)
	p := places{Places: found}
	if err != nil {
		return p, err
	}
	if cfg.Cgroup == "" {
		layout, err := host.Cgroups()
		switch {
		case err == nil:
			p.cgroup = layout.V2Root
		case errors.Is(err, host.ErrNoCgroup2):
			p.cgroup, p.mount = ownCgroup(), true
		default:
			return p, err
		}
		return p, nil
	}
	for _, dir := range []string{cfg.Cgroup, filepath.Join(cfg.Cgroup, "unified")} {
		if host.IsCgroup2(dir) {
			p.cgroup = dir
			return p, nil
		}
	}
	return p, fmt.Errorf("--cgroup %s is no directory of cgroup2, and neither is %s/unified", cfg.Cgroup, cfg.Cgroup)
}

// prepare makes the places and returns a lock on them, which lasts as long as the file is open.
func (p places) prepare() (*os.File, error) {
	lock, err := p.Prepare()
	if err != nil || !p.mount {
		return lock, err
	}
	if err := host.MountCgroup2(p.cgroup); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}
