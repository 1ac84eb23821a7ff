package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// About is what a runtime says about itself.
type About struct {
	Name, Version string
	// PauseImage is the image of every sandbox, which the CRI does not say was
	// pinned before version 1.29; empty where it is not known.
	PauseImage string
	// Plugins are where it looks for CNI plugins, and Networks where for their
	// configurations; empty where it does not tell.
	Plugins, Networks string
	// users are the handlers of RuntimeClasses that have user namespaces, with an empty
	// name the one of Pods that have none.
	users   map[string]bool
	images  bool // it has volumes that are images
	cdi     bool // and devices by the Container Device Interface
	systemd bool // it wants systemd to make cgroups
}

// configuration is the part of containerd's that its Status has (verbose).
type configuration struct {
	SandboxImage string `json:"sandboxImage"`
	CNI          struct {
		BinDir  string   `json:"binDir"`
		BinDirs []string `json:"binDirs"`
		ConfDir string   `json:"confDir"`
	} `json:"cni"`
	Containerd struct {
		DefaultRuntimeName string `json:"defaultRuntimeName"`
		Runtimes           map[string]struct {
			Options map[string]any `json:"options"`
		} `json:"runtimes"`
	} `json:"containerd"`
}

// ask asks the runtime about itself.
func (c *connection) ask(ctx context.Context) (*About, error) {
	version, err := invoke(ctx, c, briefly, c.runtime.Version, &runtimeapi.VersionRequest{})
	if err != nil {
		return nil, err
	}
	status, err := invoke(ctx, c, briefly, c.runtime.Status, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return nil, err
	}
	a := aboutFrom(version, status)
	driver, err := invoke(ctx, c, briefly, c.runtime.RuntimeConfig, &runtimeapi.RuntimeConfigRequest{})
	switch {
	case err == nil && driver.GetLinux() != nil:
		a.systemd = driver.GetLinux().GetCgroupDriver() == runtimeapi.CgroupDriver_SYSTEMD
	case err != nil && !unknownMethod(err):
		return nil, err
	}
	return a, nil
}

// aboutFrom reads what a runtime has answered.
func aboutFrom(version *runtimeapi.VersionResponse, status *runtimeapi.StatusResponse) *About {
	a := &About{Name: version.GetRuntimeName(), Version: version.GetRuntimeVersion(), users: map[string]bool{}}
	for _, h := range status.GetRuntimeHandlers() {
		a.users[h.GetName()] = h.GetFeatures().GetUserNamespaces()
	}
	// The CRI has no field for image volumes (KEP-4639).
	major, minor := numbers(a.Version)
	switch a.Name {
	case "containerd":
		a.images, a.cdi = major > 2 || major == 2 && minor >= 1, major >= 2
	case "cri-o":
		a.images, a.cdi = major > 1 || major == 1 && minor >= 31, major > 1 || major == 1 && minor >= 23
	}
	var c configuration
	if json.Unmarshal([]byte(status.GetInfo()["config"]), &c) != nil {
		return a
	}
	a.PauseImage, a.Networks, a.Plugins = c.SandboxImage, c.CNI.ConfDir, c.CNI.BinDir
	if a.Plugins == "" && len(c.CNI.BinDirs) > 0 {
		a.Plugins = c.CNI.BinDirs[0]
	}
	a.systemd, _ = c.Containerd.Runtimes[c.Containerd.DefaultRuntimeName].Options["SystemdCgroup"].(bool)
	return a
}

// numbers are the first two of a version such as v1.6.20~ds1; 0 is what is not
// there.
func numbers(version string) (major, minor int) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	major, _ = strconv.Atoi(parts[0])
	if len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1])
	}
	return major, minor
}

// whoIs is what the runtime says about itself, asked once for each life of it.
func (r *Runtime) whoIs(ctx context.Context) (*About, error) {
	r.mu.Lock()
	a := r.about
	r.mu.Unlock()
	if a != nil {
		return a, nil
	}
	a, err := r.conn.ask(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.about = a
	r.mu.Unlock()
	return a, nil
}

// forgetWho has it asked again: it may come back as another version.
func (r *Runtime) forgetWho() {
	r.mu.Lock()
	r.about = nil
	r.mu.Unlock()
}

// NeedsLoopback tells whether the runtime has a CNI plugin set up the loopback
// interface, as containerd before 2.0.
func (a *About) NeedsLoopback() bool {
	major, _ := numbers(a.Version)
	return a.Name == "containerd" && major < 2
}

// refuse tells what keeps a node from using the runtime at all.
func (a *About) refuse(endpoint string) error {
	if a.systemd {
		return fmt.Errorf("the container runtime at %s has systemd make cgroups, and a node makes its own: set SystemdCgroup = false for its runtime (CRI-O: cgroup_manager = \"cgroupfs\") and restart it", endpoint)
	}
	return nil
}

// refuseSandbox refuses what the runtime would leave out without a word.
func (r *Runtime) refuseSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) error {
	a, err := r.whoIs(ctx)
	if err != nil {
		return err
	}
	if err := a.refuse(r.cfg.Endpoint); err != nil {
		return err
	}
	users := config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()
	if users != nil && users.GetMode() == runtimeapi.NamespaceMode_POD && !a.users[handler] {
		return fmt.Errorf("can't set `spec.hostUsers: false`: %s %s has no user namespaces for the runtime handler %q", a.Name, a.Version, handler)
	}
	return nil
}

// refuseContainer is the same for a container.
func (r *Runtime) refuseContainer(ctx context.Context, config *runtimeapi.ContainerConfig) error {
	a, err := r.whoIs(ctx)
	if err != nil {
		return err
	}
	var errs []error
	if devices := config.GetCDIDevices(); len(devices) > 0 && !a.cdi {
		errs = append(errs, fmt.Errorf("device %s: %s %s has no Container Device Interface (containerd has it from 2.0 on, CRI-O from 1.23 on): use a node of another runtime", devices[0].GetName(), a.Name, a.Version))
	}
	for _, m := range config.GetMounts() {
		if m.GetImage().GetImage() != "" && !a.images {
			errs = append(errs, fmt.Errorf("mount %s: %s %s can't mount images as volumes (containerd can from 2.1 on, CRI-O from 1.31 on): use another kind of volume, or a node of another runtime", m.GetContainerPath(), a.Name, a.Version))
		}
	}
	return errors.Join(errs...)
}
