package spec

import (
	"fmt"
	"path/filepath"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerInput is what a container's configuration depends on beside its Pod.
type ContainerInput struct {
	Pod       *v1.Pod
	Container *v1.Container
	Restarts  uint32
	// Round is how often all containers of the Pod have been started anew.
	Round int
	// ImageRef is the runtime's name of the image, User the user that the image
	// names.
	ImageRef string
	User     ImageUser
	Env      []*runtimeapi.KeyValue
	Mounts   []*runtimeapi.Mount
	Devices  []*runtimeapi.Device
	// Annotations are what device plugins add, and CDI the names of devices in the
	// Container Device Interface.
	Annotations map[string]string
	CDI         []string
	// Target is the container whose processes an ephemeral one wants to see.
	Target string
	// Users is the Pod's user namespace; nil is the node's.
	Users *runtimeapi.UserNamespace
	// Memory is the node's capacity, from which the score for the OOM killer is
	// computed.
	Memory resource.Quantity
	// HugePages are the sizes of huge pages that the machine has, in bytes.
	HugePages []int64
}

// Container is the configuration of one container.
func Container(in ContainerInput) (*runtimeapi.ContainerConfig, error) {
	pod, c := in.Pod, in.Container
	sc, err := security(pod, c, in.User, in.Users, in.Target)
	if err != nil {
		return nil, err
	}
	for _, m := range in.Mounts {
		m.UidMappings, m.GidMappings = in.Users.GetUids(), in.Users.GetGids()
	}
	command, args := ExpandCommand(c, in.Env)
	config := &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: in.Restarts},
		Image:       &runtimeapi.ImageSpec{Image: in.ImageRef, UserSpecifiedImage: c.Image},
		Command:     command,
		Args:        args,
		WorkingDir:  c.WorkingDir,
		Envs:        in.Env,
		Mounts:      in.Mounts,
		Devices:     in.Devices,
		Labels:      containerLabels(pod, c),
		Annotations: containerAnnotations(pod, c, in.Restarts, in.Round),
		CDIDevices:  cdiDevices(in.CDI),
		LogPath:     LogPath(c.Name, in.Restarts),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources:       Limits(pod, c, in.Memory, in.HugePages),
			SecurityContext: sc,
		},
	}
	for k, v := range in.Annotations {
		if _, own := config.Annotations[k]; !own {
			config.Annotations[k] = v
		}
	}
	if l := c.Lifecycle; l != nil && l.StopSignal != nil {
		config.StopSignal = runtimeapi.Signal(runtimeapi.Signal_value[string(*l.StopSignal)])
	}
	return config, nil
}

func cdiDevices(names []string) []*runtimeapi.CDIDevice {
	var out []*runtimeapi.CDIDevice
	for _, name := range names {
		out = append(out, &runtimeapi.CDIDevice{Name: name})
	}
	return out
}

// LogPath is the log file of a container, relative to its Pod's directory of
// logs.
func LogPath(container string, restarts uint32) string {
	return filepath.Join(container, fmt.Sprintf("%d.log", restarts))
}

// LogDir is the name of a Pod's directory of logs.
func LogDir(pod *v1.Pod) string {
	return fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID)
}

// MountsAt tells whether the container mounts something of its own at path.
func MountsAt(c *v1.Container, path string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m v1.VolumeMount) bool {
		return filepath.Clean(m.MountPath) == path
	})
}
