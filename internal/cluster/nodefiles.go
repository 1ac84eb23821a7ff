package cluster

import (
	"path/filepath"

	"minato/internal/host"
	"minato/internal/runtime/oci"
)

// nodeFiles says what files a node has: a root directory of its own, in which are
// the machine's programs and what Mounts names. The OCI runtime looks up the
// node's network namespace by its path, for Pods that are on the node's network. own
// says that it is Minato's runtime that runs the node's containers.
func (s *Server) nodeFiles(node string, ns host.Netns, own bool) (*host.MountNSConfig, error) {
	var programs []string
	if own {
		var err error
		if programs, err = oci.Programs(); err != nil {
			return nil, err
		}
	}
	data, run := s.paths.NodeData(node), s.paths.NodeRun(node)
	root, temporary := filepath.Join(data, "root"), filepath.Join(run, "root", "run")
	files := &host.MountNSConfig{
		Name: node, Path: s.paths.MountNS(node), Root: root, Changes: filepath.Join(data, "changes"),
		Cover: []string{dataRoot, runRoot}, Keep: []string{data, run},
		Empty: []string{filepath.Join(root, "tmp"), temporary}, Files: append(programs, ns.Path), Netns: ns.Path,
		Binds: []host.Bind{{Source: temporary, Target: "/run"}},
	}
	// Below /etc, where the machine may have such directories, too.
	for _, dir := range []string{"/etc/kubernetes", "/etc/cni/net.d"} {
		files.Binds = append(files.Binds, host.Bind{Source: filepath.Join(root, dir), Target: dir})
	}
	for _, m := range s.cfg.Mounts {
		files.Binds = append(files.Binds, host.Bind{Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return files, nil
}
