package node

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"minato/internal/host"
	"minato/internal/node/fakecri"
	"minato/internal/node/observe"
	"minato/internal/node/pod"
	"minato/internal/node/probe"
	"minato/internal/node/spec"
	"minato/internal/node/status"
	"minato/internal/node/storage"
	"minato/internal/node/volume"
)

// Every optional pointer of the API may be nil, and every struct that one leads
// to may be empty. No Pod, whatever it leaves out, may end the node.

// words are what strings of made-up Pods are taken from: names of theirs,
// values that fields know, and nonsense.
var words = []string{
	"", "data", "x", "c", "main", "Memory", "HugePages", "a/b", "../up", "/abs", "..data/key", "$(X)", "$(NONE)", "cm",
	"metadata.name", "metadata.labels['a']", "status.podIP", "limits.cpu", "requests.memory", "Always", "Never",
	"Localhost", "RuntimeDefault", "Unmasked", "None", "ClusterFirst", "Bidirectional", "HostToContainer", "Enabled",
	"net.ipv4.tcp_syncookies", "SIGTERM", "TCP", "UDP", "HTTPS", "all", "NET_ADMIN", "FallbackToLogsOnError", "\xff",
}

var numbers = []int64{0, 0, 1, -1, 5, 80, 65536, 1 << 31, 1 << 40}

var quantities = []string{"0", "1", "100m", "1Mi", "-1", "1Ei", "3n"}

// filler makes values up. One of odds pointers leads to something.
type filler struct {
	*rand.Rand
	odds int
}

func (f filler) fill(v reflect.Value, depth int) {
	switch o := v.Addr().Interface().(type) {
	case *resource.Quantity:
		*o = resource.MustParse(quantities[f.IntN(len(quantities))])
		return
	case *metav1.Time:
		*o = metav1.NewTime(time.Unix(numbers[f.IntN(5)]*1000, 0))
		return
	case *intstr.IntOrString:
		*o = intstr.Parse([]string{"", "80", "http", "-1"}[f.IntN(4)])
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if depth > 0 && f.IntN(f.odds) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			if f.IntN(4) > 0 { // else it stays empty
				f.fill(v.Elem(), depth-1)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				f.fill(v.Field(i), depth-1)
			}
		}
	case reflect.Slice:
		if depth <= 0 {
			return
		}
		n := f.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.fill(v.Index(i), depth-1)
		}
	case reflect.Map:
		if depth <= 0 || f.IntN(2) == 0 {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(key, depth-1)
		if v.Type() == reflect.TypeFor[v1.ResourceList]() {
			key.SetString([]string{"cpu", "memory", "ephemeral-storage", "hugepages-2Mi"}[f.IntN(4)])
		}
		f.fill(value, depth-1)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(words[f.IntN(len(words))])
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(numbers[f.IntN(len(numbers))])
	case reflect.Uint8:
		v.SetUint(uint64(f.IntN(256)))
	}
}

// madeUp is a Pod out of chance. What would touch the machine is kept in dir.
func madeUp(seed uint64, dir string) *v1.Pod {
	f := filler{Rand: rand.New(rand.NewPCG(seed, 1)), odds: 1 + int(seed%4)}
	p := &v1.Pod{}
	f.fill(reflect.ValueOf(&p.Spec).Elem(), 12)
	f.fill(reflect.ValueOf(&p.Status).Elem(), 8)
	p.ObjectMeta = metav1.ObjectMeta{Name: "p", Namespace: "default", UID: "u", Labels: map[string]string{"a": "b"}}
	for range 1 + f.IntN(2) { // most fields of a volume are types that are not supported
		v := v1.Volume{Name: words[1+f.IntN(4)]}
		sources := reflect.ValueOf(&v.VolumeSource).Elem()
		supported := []string{"EmptyDir", "HostPath", "ConfigMap", "Secret", "DownwardAPI", "Projected"}
		source := sources.FieldByName(supported[f.IntN(len(supported))])
		source.Set(reflect.New(source.Type().Elem()))
		f.fill(source.Elem(), 8)
		p.Spec.Volumes = append(p.Spec.Volumes, v)
	}
	for i := range p.Spec.Volumes {
		if h := p.Spec.Volumes[i].HostPath; h != nil {
			h.Path = filepath.Join(dir, "host", h.Path)
		}
	}
	return p
}

type plainObjects struct{}

func (plainObjects) ConfigMap(context.Context, string, string) (*v1.ConfigMap, error) {
	return &v1.ConfigMap{}, nil
}
func (plainObjects) Secret(context.Context, string, string) (*v1.Secret, error) {
	return &v1.Secret{}, nil
}

// through takes a Pod through everything that reads its fields; what is refused
// is fine.
func through(ctx context.Context, volumes *volume.Manager, p *v1.Pod) {
	volumes.SetUp(ctx, p)
	resolver := spec.Resolver{Servers: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, Domain: "cluster.local"}
	resolver.DNS(p)
	spec.Sandbox(spec.SandboxInput{Pod: p, ClusterDomain: "cluster.local"})
	spec.HostsFile(p, []string{"10.244.1.2"}, "cluster.local", "")
	spec.PodMemoryLimit(p)
	storage.Limited(p)
	storage.Exceeded(p, storage.Usage{Files: host.Usage{Bytes: 1 << 50}})
	volumes.Usage(ctx, p)
	view := &observe.Pod{UID: p.UID, Sandboxes: []observe.Sandbox{{ID: "s", Ready: true}}}
	health := func(string) probe.Health { return probe.Health{} }
	containers := append(append([]v1.Container(nil), p.Spec.InitContainers...), p.Spec.Containers...)
	for i := range p.Spec.EphemeralContainers {
		containers = append(containers, v1.Container(p.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	for i := range containers {
		c := &containers[i]
		env, _ := spec.Environment(ctx, spec.EnvInput{Pod: p, Container: c, Objects: plainObjects{}})
		mounts, _ := volumes.Mounts(p, c, env, nil)
		spec.Container(spec.ContainerInput{Pod: p, Container: c, Env: env, Mounts: mounts})
		for _, v := range c.Env {
			if v.ValueFrom != nil && v.ValueFrom.ResourceFieldRef != nil {
				spec.ResourceField(p, c.Name, v.ValueFrom.ResourceFieldRef, v1.ResourceList{})
			}
		}
		state := runtimeapi.ContainerState(i % 3)
		view.Containers = append(view.Containers, observe.Container{ID: "id", Name: c.Name, State: state, ExitCode: int32(i % 2)})
	}
	for _, v := range []*observe.Pod{nil, {}, view} {
		if v != nil {
			pod.MakePlan(p, v, pod.Facts{Health: health})
		}
		for _, terminal := range []bool{false, true} {
			status.Compute(status.Input{
				Pod: p, Old: p.Status, View: v, Terminal: terminal, Over: terminal,
				Probes: func(string) status.Probes { return status.Probes{} },
			})
		}
	}
	volumes.TearDown(context.Background(), p.UID)
}

func survives(t *testing.T, volumes *volume.Manager, p *v1.Pod) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			text, _ := json.Marshal(p.Spec)
			t.Fatalf("%v\nwith the Pod %s\n%s", r, text, debug.Stack())
		}
	}()
	through(t.Context(), volumes, p)
}

func FuzzPods(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		dir := t.TempDir()
		volumes := volume.New(volume.Config{
			Dir: filepath.Join(dir, "pods"), MemoryDir: filepath.Join(dir, "memory"),
			Objects: oneObject{}, Claims: oneObject{}, Tokens: oneObject{}, Mounter: noMounts{},
			NodeLabels: func(context.Context) (map[string]string, error) { return nil, nil },
		})
		survives(t, volumes, madeUp(seed, dir))
	})
}

// Each type of volume, source of a projection and of a variable, without
// anything in it, and each field of a Pod with a pointer that leads to nothing
// but an empty struct.
func TestEmptySources(t *testing.T) {
	dir := t.TempDir()
	volumes := volume.New(volume.Config{
		Dir: filepath.Join(dir, "pods"), MemoryDir: filepath.Join(dir, "memory"),
		Objects: oneObject{}, Claims: oneObject{}, Tokens: oneObject{}, Mounter: noMounts{},
		NodeLabels: func(context.Context) (map[string]string, error) { return nil, nil },
	})
	each := func(of any, use func(p *v1.Pod)) {
		v := reflect.ValueOf(of).Elem()
		for i := range v.NumField() {
			if v.Field(i).Kind() != reflect.Pointer {
				continue
			}
			v.SetZero()
			v.Field(i).Set(reflect.New(v.Field(i).Type().Elem()))
			if source, ok := v.Field(i).Interface().(*v1.HostPathVolumeSource); ok {
				source.Path = filepath.Join(dir, "host")
			}
			p := testPod("p")
			use(p)
			survives(t, volumes, p)
		}
		v.SetZero()
		p := testPod("p")
		use(p)
		survives(t, volumes, p)
	}
	mounted := v1.VolumeMount{Name: "v", MountPath: "/v"}
	source := v1.VolumeSource{}
	each(&source, func(p *v1.Pod) {
		p.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: source}}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{mounted}
	})
	memory := v1.EmptyDirVolumeSource{}
	each(&memory, func(p *v1.Pod) {
		memory.Medium = v1.StorageMediumMemory
		p.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &memory}}}
	})
	projection := v1.VolumeProjection{}
	each(&projection, func(p *v1.Pod) {
		p.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{projection}}}}}
	})
	variable := v1.EnvVarSource{}
	each(&variable, func(p *v1.Pod) {
		p.Spec.Containers[0].Env = []v1.EnvVar{{Name: "X", ValueFrom: &variable}}
	})
	from := v1.EnvFromSource{}
	each(&from, func(p *v1.Pod) { p.Spec.Containers[0].EnvFrom = []v1.EnvFromSource{from} })
	security := v1.SecurityContext{}
	each(&security, func(p *v1.Pod) { p.Spec.Containers[0].SecurityContext = &security })
	podSecurity := v1.PodSecurityContext{}
	each(&podSecurity, func(p *v1.Pod) { p.Spec.SecurityContext = &podSecurity })
	container := v1.Container{}
	each(&container, func(p *v1.Pod) { p.Spec.Containers[0] = container })
	all := v1.PodSpec{}
	each(&all, func(p *v1.Pod) { p.Spec = all })
}

// The same Pods, in the hands of the whole agent.
func TestMadeUpPodsDoNotEndTheAgent(t *testing.T) {
	client, dir := fake.NewClientset(), t.TempDir()
	b := start(t, client, fakecri.New(clock.RealClock{}), dir)
	for seed := range uint64(60) {
		p := madeUp(seed, dir)
		p.Name = "p" + string(rune('a'+seed%26)) + string(rune('a'+seed/26))
		p.UID = uid("uid-" + p.Name)
		p.Spec.NodeName = "node-1"
		p.Status = v1.PodStatus{}
		b.create(t, p)
	}
	last := testPod("last")
	b.create(t, last)
	eventually(t, "a Pod that comes after them runs", func() bool {
		got, err := client.CoreV1().Pods("default").Get(t.Context(), "last", metav1.GetOptions{})
		return err == nil && got.Status.Phase == v1.PodRunning
	})
}

// PersistentVolumeClaim and PersistentVolume are bound to each other and say nothing else.
func (oneObject) PersistentVolumeClaim(_ context.Context, namespace, name string) (*v1.PersistentVolumeClaim, error) {
	return &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "claim"},
		Spec:       v1.PersistentVolumeClaimSpec{VolumeName: "volume"}, Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimBound},
	}, nil
}

func (oneObject) PersistentVolume(_ context.Context, name string) (*v1.PersistentVolume, error) {
	return &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{ClaimRef: &v1.ObjectReference{UID: "claim"}}}, nil
}
