package node

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// privateMode lets only root enter. Containers of every user reach what is
// theirs by their mounts, for which no path of the machine is walked.
const privateMode = 0o750

// makeDirs makes the node's directories. What lies in them has modes that are
// meant for the users of containers, so the users of the machine are kept out
// at the top, also of directories that an earlier agent left open.
func (c *Config) makeDirs() error {
	for _, dir := range []string{c.Dir, c.RunDir, c.podsDir(), pluginsDir(c.Dir), c.memoryDir(), c.logDir()} {
		if err := os.MkdirAll(dir, privateMode); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]os.FileMode{c.Dir: privateMode, c.podsDir(): privateMode, pluginsDir(c.Dir): privateMode, c.RunDir: c.runMode()} {
		if err := os.Chmod(dir, mode); err != nil {
			return err
		}
	}
	if err := c.keepInMemory(c.memoryDir()); err != nil {
		return err
	}
	// One container of a Pod may mount something in a volume for the others, and CSI
	// drivers mount volumes for the node.
	return errors.Join(c.Mounter.ShareMounts(c.podsDir()), c.Mounter.ShareMounts(pluginsDir(c.Dir)), c.Mounter.ShareMounts(c.memoryDir()))
}

// runMode lets the root users of Pods with user namespaces pass through RunDir on
// the way to the mounts of their containers. What is in it is closed to them.
func (c *Config) runMode() os.FileMode {
	if c.RunDir == c.Dir {
		return privateMode
	}
	return 0o711
}

// keepInMemory puts a tmpfs at dir, unless an earlier agent did: Secrets and
// tokens must not reach a disk, and /run is on one on some machines. Nor may
// they reach a swap device, so the tmpfs has the option noswap, as kubelet's.
func (c *Config) keepInMemory(dir string) error {
	points, err := c.Mounter.MountsUnder(dir)
	if err != nil || slices.Contains(points, dir) {
		return err
	}
	if err := c.Mounter.MountTmpfs(dir, fmt.Sprintf("mode=%#o,noswap", privateMode)); err != nil {
		return fmt.Errorf("keep the Secrets of Pods in memory: %w", err)
	}
	return nil
}
