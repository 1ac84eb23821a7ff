package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// seccomp returns the filter that the pod asks for; nil is none. caps are what
// the container gets, since RuntimeDefault allows more to some.
func (b *specBuilder) seccomp(caps *specs.LinuxCapabilities) (*specs.LinuxSeccomp, error) {
	profile := b.security().GetSeccomp()
	if profile == nil || b.security().GetPrivileged() {
		return nil, nil
	}
	switch profile.GetProfileType() {
	case runtimeapi.SecurityProfile_Unconfined:
		return nil, nil
	case runtimeapi.SecurityProfile_RuntimeDefault:
		return defaultSeccomp(caps), nil
	case runtimeapi.SecurityProfile_Localhost:
		out, err := localhostSeccomp(b.r.cfg.SeccompDir, profile.GetLocalhostRef())
		if err != nil {
			return nil, fmt.Errorf("cannot load seccomp profile %q: %w", profile.GetLocalhostRef(), err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("seccomp profile of type %v: %w", profile.GetProfileType(), ErrUnsupported)
}

// defaultSeccomp is what RuntimeDefault means: containerd's list of the system
// calls that are allowed, which depends on the capabilities; all others are
// refused.
func defaultSeccomp(caps *specs.LinuxCapabilities) *specs.LinuxSeccomp {
	return seccomp.DefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: caps}})
}

// maxSeccompProfile bounds the file of a profile; the default one as JSON has
// less than 20 KiB.
const maxSeccompProfile = 1 << 20

// localhostSeccomp reads a profile from the node's own directory. ref is
// relative to it, or absolute and inside, as CRI has it. Links are followed as
// long as they stay inside. Only root may be able to write what is read:
// anything else may be a container's work.
func localhostSeccomp(dir, ref string) (*specs.LinuxSeccomp, error) {
	name := ref
	if filepath.IsAbs(name) {
		rest, ok := strings.CutPrefix(filepath.Clean(name), filepath.Clean(dir)+"/")
		if !ok {
			return nil, fmt.Errorf("the node's profiles are in %s", dir)
		}
		name = rest
	}
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("it is not the name of a file below %s, where the node's profiles are", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if info, err := root.Stat("."); err != nil || !onlyRootWrites(info) {
		return nil, errors.Join(err, fmt.Errorf("others than root may write to %s: `chown root` it and `chmod go-w` it", dir))
	}
	// Not to hang on a named pipe.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w (the node's profiles are in %s)", err, dir)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case !onlyRootWrites(info):
		return nil, errors.New("others than root may write to it: `chown root` it and `chmod go-w` it")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSeccompProfile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSeccompProfile {
		return nil, fmt.Errorf("it is larger than %d KiB", maxSeccompProfile>>10)
	}
	return parseSeccomp(data)
}

func onlyRootWrites(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0 && info.Mode().Perm()&0o022 == 0
}

// parseSeccomp takes a profile as containerd does: the OCI runtime
// specification's linux.seccomp.
func parseSeccomp(data []byte) (*specs.LinuxSeccomp, error) {
	out := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, err
	}
	if out.DefaultAction == "" {
		return nil, errors.New("it has no defaultAction")
	}
	return out, nil
}
