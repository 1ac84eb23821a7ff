package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/clock"

	"minato/internal/host"
	"minato/internal/node/fakecri"
	"minato/internal/node/volume"
)

// patience is how long the tests wait for something at most: machines may be busy.
const patience = time.Minute

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

type noMounts struct{}

func (noMounts) MountTmpfs(string, string) error                   { return nil }
func (noMounts) BindMount(string, string, bool) error              { return nil }
func (noMounts) Unmount(string) error                              { return nil }
func (noMounts) UnmountAllUnder(string) error                      { return nil }
func (noMounts) ClearTree(dir string) error                        { return os.RemoveAll(dir) }
func (noMounts) MountsUnder(string) ([]string, error)              { return nil, nil }
func (noMounts) ShareMounts(string) error                          { return nil }
func (noMounts) MountHugePages(string, int64, int64, string) error { return nil }
func (noMounts) MountNFS(context.Context, string, host.NFS) error  { return host.ErrNoNFS }

func (noMounts) BindWith(*os.File, string, []string, bool) error { return nil }
func (noMounts) OpenDevice(*os.File) (volume.Device, error)      { return nil, errors.ErrUnsupported }

type noStreams struct{}

func (noStreams) Exec(context.Context, string, []string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return nil
}
func (noStreams) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return nil
}
func (noStreams) PortForward(context.Context, string, int32, io.ReadWriteCloser) error { return nil }

// bench is an agent with a fake runtime and a fake API server.
type bench struct {
	client  *fake.Clientset
	runtime *fakecri.Runtime
	images  *fakecri.Images
	agent   *Agent
	cfg     Config
	stop    func()
}

func start(t *testing.T, client *fake.Clientset, rt *fakecri.Runtime, dir string) *bench {
	t.Helper()
	return startWith(t, client, rt, dir, func(*Config) {})
}

func startWith(t *testing.T, client *fake.Clientset, rt *fakecri.Runtime, dir string, change func(*Config)) *bench {
	t.Helper()
	events := make(chan Event, 1024)
	cert, pool := testCertificates(t)
	images := fakecri.NewImages("docker.io/library/nginx:1.27", "docker.io/library/busybox:latest")
	b := &bench{client: client, runtime: rt, images: images}
	b.cfg = Config{
		Name: "node-1", Labels: map[string]string{"zone": "a"},
		Addresses: []netip.Addr{netip.MustParseAddr("172.30.0.11"), netip.MustParseAddr("fd00:172:30::b")},
		PodCIDRs:  []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:244:1::/64")},
		Client:    client,
		Pods:      NewPodInformer(client, "node-1"),
		Services:  corelisters.NewServiceLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})), ServicesSynced: func() bool { return true },
		Runtime: rt, Images: images, Streaming: noStreams{}, Events: events,
		APIPort: freePort(t), Dir: dir, Mounter: noMounts{},
		ClusterDNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, ClusterDomain: "cluster.local",
		ServingCert: cert, ClientCA: pool,
		Capacity: v1.ResourceList{v1.ResourceCPU: resource.MustParse("2"), v1.ResourceMemory: resource.MustParse("4Gi")},
		Version:  "v1.36.3",
	}
	change(&b.cfg)
	var err error
	if b.agent, err = New(b.cfg); err != nil {
		t.Fatal(err)
	}
	watches := podWatches(client)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.agent.Run(ctx) }()
	go b.cfg.Pods.RunWithContext(ctx)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-rt.Events:
				events <- Event(e)
			}
		}
	}()
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not end")
		}
	}
	t.Cleanup(b.stop)
	select {
	case <-b.agent.Ready():
	case <-time.After(patience):
		t.Fatal("node did not get ready")
	}
	// A watch of the fake API server tells nothing of what came between the list and it.
	eventually(t, "the pods are watched", func() bool { return podWatches(client) > watches })
	return b
}

// podWatches counts the watches of Pods that were begun.
func podWatches(client *fake.Clientset) int {
	n := 0
	for _, a := range client.Actions() {
		if a.Matches("watch", "pods") {
			n++
		}
	}
	return n
}

func testPod(name string) *v1.Pod {
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: uid("uid-" + name), Generation: 1},
		Spec: v1.PodSpec{
			NodeName: "node-1", RestartPolicy: v1.RestartPolicyAlways, DNSPolicy: v1.DNSClusterFirst,
			Containers: []v1.Container{{Name: "web", Image: "nginx:1.27", ImagePullPolicy: v1.PullIfNotPresent, TerminationMessagePath: "/dev/termination-log"}},
		},
	}
}

func (b *bench) create(t *testing.T, p *v1.Pod) {
	t.Helper()
	if _, err := b.client.CoreV1().Pods(p.Namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) pod(t *testing.T, name string) *v1.Pod {
	t.Helper()
	p, err := b.client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (b *bench) phase(t *testing.T, name string) v1.PodPhase {
	if p := b.pod(t, name); p != nil {
		return p.Status.Phase
	}
	return ""
}

func TestNodeRegisters(t *testing.T) {
	client := fake.NewClientset()
	b := start(t, client, fakecri.New(clock.RealClock{}), t.TempDir())
	n, err := client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n.Labels["kubernetes.io/hostname"] != "node-1" || n.Labels["zone"] != "a" || n.Annotations[attachedByController] != "true" || n.Spec.PodCIDR != "10.244.1.0/24" {
		t.Errorf("node = %+v, %+v", n.Labels, n.Spec)
	}
	if got := fmt.Sprint(n.Spec.PodCIDRs); got != "[10.244.1.0/24 fd00:10:244:1::/64]" {
		t.Errorf("Pod ranges = %s", got)
	}
	if got := fmt.Sprint(n.Status.Addresses); got != "[{InternalIP 172.30.0.11} {InternalIP fd00:172:30::b} {Hostname node-1}]" {
		t.Errorf("addresses = %s", got)
	}
	handlers := n.Status.RuntimeHandlers
	if len(handlers) != 2 || handlers[0].Name != "" || !*handlers[0].Features.RecursiveReadOnlyMounts || handlers[1].Name != "kata" || *handlers[1].Features.RecursiveReadOnlyMounts {
		t.Errorf("runtime handlers = %+v", handlers)
	}
	// Without it, the API server refuses resizes of init containers.
	if got := fmt.Sprint(n.Status.DeclaredFeatures); got != "[InPlacePodLevelResourcesVerticalScaling InPlacePodVerticalScalingInitContainers RestartAllContainersOnContainerExits]" {
		t.Errorf("declared features = %s", got)
	}
	conditions := map[v1.NodeConditionType]string{}
	for _, c := range n.Status.Conditions {
		conditions[c.Type] = string(c.Status) + " " + c.Reason
	}
	for kind, want := range map[v1.NodeConditionType]string{
		v1.NodeReady:          "True KubeletReady",
		v1.NodeMemoryPressure: "False KubeletHasSufficientMemory",
		v1.NodePIDPressure:    "False KubeletHasSufficientPID",
	} {
		if conditions[kind] != want {
			t.Errorf("condition %s = %q, want %q", kind, conditions[kind], want)
		}
	}
	if n.Status.NodeInfo.ContainerRuntimeVersion != "fake://1" || n.Status.Capacity.Pods().Value() != 110 || len(n.Status.Images) != 2 {
		t.Errorf("status = %+v", n.Status)
	}
	eventually(t, "the lease exists", func() bool {
		l, err := client.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "node-1", metav1.GetOptions{})
		return err == nil && *l.Spec.HolderIdentity == "node-1" && *l.Spec.LeaseDurationSeconds == 40
	})
	writes := 0
	for _, a := range client.Actions() {
		if a.GetResource().Resource == "nodes" && a.GetVerb() != "get" {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("registration took %d writes, want 1", writes)
	}
	b.stop()
}

func TestRegistrationKeepsWhatOthersSet(t *testing.T) {
	client := fake.NewClientset(&v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"mine": "yes", "zone": "old"}},
		Spec:       v1.NodeSpec{PodCIDR: "10.244.9.0/24", PodCIDRs: []string{"10.244.9.0/24"}, Unschedulable: true},
		Status:     v1.NodeStatus{Conditions: []v1.NodeCondition{{Type: "Custom", Status: v1.ConditionTrue}, {Type: v1.NodeReady, Status: v1.ConditionUnknown}}},
	})
	start(t, client, fakecri.New(clock.RealClock{}), t.TempDir())
	n, err := client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n.Labels["mine"] != "yes" || n.Labels["zone"] != "a" || n.Annotations[attachedByController] != "true" || n.Spec.PodCIDR != "10.244.9.0/24" || !n.Spec.Unschedulable {
		t.Errorf("node = %+v, %+v", n.Labels, n.Spec)
	}
	got := map[v1.NodeConditionType]v1.ConditionStatus{}
	for _, c := range n.Status.Conditions {
		got[c.Type] = c.Status
	}
	if got["Custom"] != v1.ConditionTrue || got[v1.NodeReady] != v1.ConditionTrue {
		t.Errorf("conditions = %v", got)
	}
}

func TestPodRunsAndIsDeleted(t *testing.T) {
	client := fake.NewClientset()
	dir := t.TempDir()
	b := start(t, client, fakecri.New(clock.RealClock{}), dir)
	b.create(t, testPod("web"))
	eventually(t, "the pod runs", func() bool { return b.phase(t, "web") == v1.PodRunning })
	eventually(t, "the pod is ready", func() bool {
		for _, c := range b.pod(t, "web").Status.Conditions {
			if c.Type == v1.PodReady {
				return c.Status == v1.ConditionTrue
			}
		}
		return false
	})
	p := b.pod(t, "web")
	if len(p.Status.PodIPs) != 2 || !strings.HasPrefix(p.Status.PodIPs[1].IP, "fd00:10:244:1::") || len(p.Status.HostIPs) != 2 {
		t.Errorf("addresses = %v on %v", p.Status.PodIPs, p.Status.HostIPs)
	}
	if p.Status.PodIP == "" || p.Status.HostIP != "172.30.0.11" || p.Status.QOSClass != v1.PodQOSBestEffort || p.Status.StartTime == nil {
		t.Errorf("status = %+v", p.Status)
	}
	if id := p.Status.ContainerStatuses[0].ContainerID; !strings.HasPrefix(id, "fake://c") {
		t.Errorf("container ID = %q", id)
	}
	config := b.runtime.Config("web")
	targets := map[string]bool{}
	for _, m := range config.Mounts {
		targets[m.ContainerPath] = true
	}
	if !targets["/etc/hosts"] || !targets["/dev/termination-log"] {
		t.Errorf("mounts = %v", targets)
	}

	families, err := b.agent.cfg.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, f := range families {
		told[f.GetName()] = true
		if f.GetName() == "kubelet_running_pods" && f.Metric[0].Gauge.GetValue() != 1 || f.GetName() == "kubelet_pod_start_duration_seconds" && f.Metric[0].Histogram.GetSampleCount() != 1 {
			t.Errorf("metric = %v", f)
		}
	}
	for _, name := range []string{"kubelet_node_name", "kubelet_running_pods", "kubelet_running_containers", "kubelet_pod_start_duration_seconds", "kubelet_runtime_operations_total", "kubelet_run_podsandbox_duration_seconds"} {
		if !told[name] {
			t.Errorf("no metric %s", name)
		}
	}

	now, seconds := metav1.Now(), int64(30)
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &seconds
	p.Finalizers = nil
	if _, err := client.CoreV1().Pods("default").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is gone from the API", func() bool { return b.pod(t, "web") == nil })
	eventually(t, "the runtime has nothing left", func() bool { return len(b.runtime.Sandboxes()) == 0 })
	eventually(t, "the disk has nothing left", func() bool {
		left, _ := filepath.Glob(filepath.Join(dir, "pods", "*"))
		logs, _ := filepath.Glob(filepath.Join(dir, "log", "pods", "*"))
		return len(left)+len(logs) == 0
	})
	var reasons []string
	eventually(t, "events are recorded", func() bool {
		list, err := client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		reasons = nil
		for _, e := range list.Items {
			reasons = append(reasons, e.Reason)
		}
		return slices.Contains(reasons, "Killing")
	})
	for _, want := range []string{"Starting", "Pulled", "Created", "Started", "Killing"} {
		if !slices.Contains(reasons, want) {
			t.Errorf("events = %v, want %s among them", reasons, want)
		}
	}
}

func TestRestartedAgentAdoptsAndSweeps(t *testing.T) {
	client, rt, dir := fake.NewClientset(), fakecri.New(clock.RealClock{}), t.TempDir()
	b := start(t, client, rt, dir)
	b.create(t, testPod("stays"))
	b.create(t, testPod("goes"))
	eventually(t, "both pods run", func() bool {
		return b.phase(t, "stays") == v1.PodRunning && b.phase(t, "goes") == v1.PodRunning
	})
	b.stop()
	if n := len(rt.Sandboxes()); n != 2 {
		t.Fatalf("%d sandboxes after the agent ended, want 2", n)
	}
	if err := client.CoreV1().Pods("default").Delete(t.Context(), "goes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	before := len(rt.Calls())
	b = start(t, client, rt, dir)
	eventually(t, "the orphan is gone", func() bool { return len(rt.Sandboxes()) == 1 })
	for _, call := range rt.Calls()[before:] {
		if strings.HasSuffix(call, "stays") || strings.HasPrefix(call, "Create") || strings.HasPrefix(call, "Run") {
			t.Errorf("adopting the pod took %q", call)
		}
	}
	if p := b.pod(t, "stays"); p.Status.Phase != v1.PodRunning || p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("adopted pod = %+v", p.Status)
	}
}
