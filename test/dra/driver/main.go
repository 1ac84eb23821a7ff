// Command driver is a driver of dynamic resources for tests: a few devices that are a
// variable and a file each, on the node that it runs on. What talks to the node and
// publishes the devices is Kubernetes' own package for drivers. A file
// /var/lib/dra-driver/fail makes it refuse to prepare, and what is in the file hot is
// what ails all devices, which are well without it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	healthapi "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

const (
	name     = "dra.minato.local"
	kind     = name + "/device"
	cdiDir   = "/var/run/cdi"
	stateDir = "/var/lib/dra-driver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, dir := range []string{cdiDir, stateDir, filepath.Join(kubeletplugin.KubeletPluginsDir, name)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	node := os.Getenv("NODE_NAME")
	helper, err := kubeletplugin.Start(ctx, driver{node: node}, kubeletplugin.DriverName(name), kubeletplugin.NodeName(node), kubeletplugin.KubeClient(client))
	if err != nil {
		return err
	}
	defer helper.Stop()
	var devices []resourceapi.Device
	for _, d := range names {
		devices = append(devices, resourceapi.Device{Name: d})
	}
	err = helper.PublishResources(ctx, resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{
		node: {Slices: []resourceslice.Slice{{Devices: devices}}},
	}})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// names are those of the devices.
var names = [...]string{"one", "two"}

// driver implements kubeletplugin.DRAPlugin, and tells how its devices are.
type driver struct {
	healthapi.UnimplementedDRAResourceHealthServer
	node string
}

// NodeWatchResources looks at the file twice a second.
func (d driver) NodeWatchResources(_ *healthapi.NodeWatchResourcesRequest, s healthapi.DRAResourceHealth_NodeWatchResourcesServer) error {
	tick := time.NewTicker(time.Second / 2)
	defer tick.Stop()
	for {
		health := healthapi.HealthStatus_HEALTHY
		ails, err := os.ReadFile(filepath.Join(stateDir, "hot"))
		switch {
		case err == nil:
			health = healthapi.HealthStatus_UNHEALTHY
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		message := &healthapi.NodeWatchResourcesResponse{}
		for _, name := range names {
			message.Devices = append(message.Devices, &healthapi.DeviceHealth{
				Device: &healthapi.DeviceIdentifier{PoolName: d.node, DeviceName: name}, Health: health, Message: strings.TrimSpace(string(ails)),
			})
		}
		if err := s.Send(message); err != nil {
			return err
		}
		select {
		case <-s.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

// PrepareResourceClaims writes a CDI spec for each claim.
func (driver) PrepareResourceClaims(_ context.Context, claims []*resourceapi.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	out := map[types.UID]kubeletplugin.PrepareResult{}
	for _, c := range claims {
		devices, err := prepare(c)
		fmt.Println("prepare", c.Namespace, c.Name, err)
		out[c.UID] = kubeletplugin.PrepareResult{Devices: devices, Err: err}
	}
	return out, nil
}

func prepare(c *resourceapi.ResourceClaim) ([]kubeletplugin.Device, error) {
	if _, err := os.Stat(filepath.Join(stateDir, "fail")); err == nil {
		return nil, errors.New("told to fail")
	}
	spec := cdi.Spec{Version: "0.5.0", Kind: kind}
	var devices []kubeletplugin.Device
	for _, r := range c.Status.Allocation.Devices.Results {
		if r.Driver != name {
			continue
		}
		id := string(c.UID) + "-" + r.Device
		file := filepath.Join(stateDir, r.Device)
		if err := os.WriteFile(file, []byte(r.Device+"\n"), 0o644); err != nil {
			return nil, err
		}
		spec.Devices = append(spec.Devices, cdi.Device{Name: id, ContainerEdits: cdi.ContainerEdits{
			Env:    []string{"DRA_" + r.Request + "=" + r.Device},
			Mounts: []*cdi.Mount{{HostPath: file, ContainerPath: "/device/" + r.Request, Options: []string{"ro", "bind"}}},
		}})
		devices = append(devices, kubeletplugin.Device{Requests: []string{r.Request}, PoolName: r.Pool, DeviceName: r.Device, CDIDeviceIDs: []string{kind + "=" + id}})
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return devices, os.WriteFile(specFile(c.UID), text, 0o644)
}

func specFile(claim types.UID) string { return filepath.Join(cdiDir, name+"-"+string(claim)+".json") }

// UnprepareResourceClaims removes what Prepare has made.
func (driver) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	out := map[types.UID]error{}
	for _, c := range claims {
		err := os.Remove(specFile(c.UID))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		fmt.Println("unprepare", c.Namespace, c.Name, err)
		out[c.UID] = err
	}
	return out, nil
}

// HandleError tells of what failed in the background.
func (driver) HandleError(_ context.Context, err error, what string) {
	fmt.Fprintln(os.Stderr, "driver:", what, err)
}
