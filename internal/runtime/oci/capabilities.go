package oci

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// defaultCapabilities are what Docker gives containers, and so what images are
// made for.
var defaultCapabilities = [...]string{
	"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
	"NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
}

// hostCapabilities are those that this process may hand on, in the kernel's
// order: a machine that is itself a container or a small VM may lack some.
type hostCapabilities []string

func readHostCapabilities() (hostCapabilities, error) {
	supported, err := capability.ListSupported()
	if err != nil {
		return nil, fmt.Errorf("read the capabilities of the node: %w", err)
	}
	var out hostCapabilities
	for _, c := range supported {
		has, err := capability.GetBound(c)
		if err != nil {
			return nil, fmt.Errorf("read the capabilities of the node: %w", err)
		}
		if has {
			out = append(out, capabilityName(c))
		}
	}
	return out, nil
}

// capabilityName is how the API spells it: SYS_ADMIN.
func capabilityName(c capability.Cap) string { return strings.ToUpper(c.String()) }

// forContainer applies additions and removals. ALL in a list comes first:
// "drop ALL, add X" leaves X, and "add ALL, drop X" everything but X. What is
// added by name and can't be had is an error.
func (h hostCapabilities) forContainer(sc *runtimeapi.LinuxContainerSecurityContext) (*specs.LinuxCapabilities, error) {
	set := slices.Clone(defaultCapabilities[:])
	add, drop := capNames(sc.GetCapabilities().GetAddCapabilities()), capNames(sc.GetCapabilities().GetDropCapabilities())
	ambient := capNames(sc.GetCapabilities().GetAddAmbientCapabilities())
	if sc.GetPrivileged() {
		set, add, drop, ambient = h, nil, nil, nil
	}
	if err := h.check(add, ambient); err != nil {
		return nil, err
	}
	if slices.Contains(drop, allCapabilities) {
		set = nil
	}
	if slices.Contains(add, allCapabilities) {
		set = h
	}
	set = slices.Concat(set, add, ambient)
	var names, ambientNames []string
	for _, name := range h {
		// What is added by name wins over "drop ALL", not over a drop by name.
		if slices.Contains(set, name) && !slices.Contains(drop, name) {
			names = append(names, "CAP_"+name)
			if slices.Contains(ambient, name) {
				ambientNames = append(ambientNames, "CAP_"+name)
			}
		}
	}
	caps := &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
	if len(ambientNames) > 0 {
		// The kernel takes ambient capabilities only from inheritable ones.
		caps.Inheritable, caps.Ambient = ambientNames, ambientNames
	}
	return caps, nil
}

// allCapabilities in a list stands for every one.
const allCapabilities = "ALL"

// check refuses additions that can't be kept.
func (h hostCapabilities) check(lists ...[]string) error {
	for _, name := range slices.Concat(lists...) {
		switch {
		case name == allCapabilities, slices.Contains(h, name):
		case slices.ContainsFunc(capability.ListKnown(), func(c capability.Cap) bool { return capabilityName(c) == name }):
			return fmt.Errorf("add capability %s: the node does not have this capability itself and can't give it to a container", name)
		default:
			return fmt.Errorf("add capability %s: there is no such capability (see capabilities(7))", name)
		}
	}
	return nil
}

func capNames(in []string) []string {
	out := make([]string, 0, len(in))
	for _, name := range in {
		out = append(out, strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
	}
	return out
}

// oomScoreAdj keeps to what this process may set: without CAP_SYS_RESOURCE
// nobody goes below where they are themselves.
func (h hostCapabilities) oomScoreAdj(asked int) int {
	if slices.Contains(h, "SYS_RESOURCE") {
		return asked
	}
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return asked
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return asked
	}
	return max(asked, own)
}
