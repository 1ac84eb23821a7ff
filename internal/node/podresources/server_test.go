package podresources

import (
	"context"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"

	"minato/internal/host"
	"minato/internal/node/device"
	"minato/internal/node/plugins"
)

type fakeDevices struct{}

func (fakeDevices) Of(pod types.UID, container string) []device.Has {
	if pod != "one" || container == "plain" {
		return nil
	}
	return []device.Has{{Resource: "example.com/gpu", Devices: []device.Device{{ID: container, NUMA: []int64{0, 1}}, {ID: "x"}}}}
}

func (fakeDevices) Healthy() []device.Has {
	return []device.Has{{Resource: "example.com/gpu", Devices: []device.Device{{ID: "a"}, {ID: "b"}}}}
}

type fakeClaims struct{}

func (fakeClaims) Of(pod *v1.Pod, c *v1.Container) []*api.DynamicResource {
	if c.Name != "plain" {
		return nil
	}
	return []*api.DynamicResource{{ClaimName: "claim", ClaimNamespace: pod.Namespace}}
}

// Clients at the node's socket are told what the containers of a Pod have that run with
// it, and not too often.
func TestServer(t *testing.T) {
	root, err := host.OpenInRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	always := v1.ContainerRestartPolicyAlways
	pods := []*v1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "two", UID: "two"}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c"}}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "one", UID: "one"}, Spec: v1.PodSpec{
			InitContainers: []v1.Container{{Name: "init"}, {Name: "side", RestartPolicy: &always}}, Containers: []v1.Container{{Name: "c"}, {Name: "plain"}},
		}},
	}
	s, err := New(Config{Root: root, Devices: fakeDevices{}, Claims: fakeClaims{}, Pods: func() []*v1.Pod { return pods }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	conn, err := plugins.Dial(root, Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := api.NewPodResourcesListerClient(conn)
	var list *api.ListPodResourcesResponse
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if list, err = client.List(ctx, &api.ListPodResourcesRequest{}); err == nil {
			break
		}
		conn.ResetConnectBackoff()
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if len(list.PodResources) != 2 || list.PodResources[0].Name != "one" || len(list.PodResources[0].Containers) != 3 {
		t.Fatalf("the list is %v", list)
	}
	side, plain := list.PodResources[0].Containers[0], list.PodResources[0].Containers[2]
	if side.Name != "side" || len(side.Devices) != 2 || side.Devices[0].DeviceIds[0] != "side" || len(side.Devices[0].Topology.Nodes) != 2 || side.Devices[1].Topology != nil {
		t.Errorf("the sidecar has %v", side)
	}
	if len(plain.Devices) != 0 || len(plain.DynamicResources) != 1 || plain.DynamicResources[0].ClaimNamespace != "a" {
		t.Errorf("the container plain has %v", plain)
	}
	one, err := client.Get(ctx, &api.GetPodResourcesRequest{PodNamespace: "b", PodName: "two"})
	if err != nil || one.PodResources.Name != "two" || len(one.PodResources.Containers) != 1 {
		t.Errorf("%v, %v", one, err)
	}
	if _, err := client.Get(ctx, &api.GetPodResourcesRequest{PodNamespace: "b", PodName: "none"}); err == nil || !strings.Contains(err.Error(), "pod none in namespace b not found") {
		t.Errorf("a Pod that is not there: %v", err)
	}
	all, err := client.GetAllocatableResources(ctx, &api.AllocatableResourcesRequest{})
	if err != nil || len(all.Devices) != 2 || all.Devices[1].DeviceIds[0] != "b" || len(all.CpuIds) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	refused := false
	for range 500 {
		_, err := client.GetAllocatableResources(ctx, &api.AllocatableResourcesRequest{})
		refused = refused || err != nil && strings.Contains(err.Error(), "rejected by rate limit")
	}
	if !refused {
		t.Error("500 requests at once are all answered")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
