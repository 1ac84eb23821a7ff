package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func ptr[T any](v T) *T { return &v }

func container(t *testing.T, pod *v1.Pod, user ImageUser) (*runtimeapi.ContainerConfig, error) {
	t.Helper()
	return Container(ContainerInput{Pod: pod, Container: &pod.Spec.Containers[0], Restarts: 3, ImageRef: "img", User: user, Memory: resource.MustParse("4Gi")})
}

func TestContainerConfig(t *testing.T) {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: v1.PodSpec{
		TerminationGracePeriodSeconds: ptr(int64(7)),
		Containers:                    []v1.Container{{Name: "c", Image: "nginx", Stdin: true, TTY: true, WorkingDir: "/w"}},
	}}
	got, err := container(t, pod, ImageUser{})
	if err != nil {
		t.Fatal(err)
	}
	if got.LogPath != "c/3.log" || got.Metadata.Attempt != 3 || !got.Stdin || !got.Tty || got.WorkingDir != "/w" || got.Image.UserSpecifiedImage != "nginx" {
		t.Errorf("config = %+v", got)
	}
	if got.Labels[LabelPodUID] != "u" || got.Labels[LabelContainerName] != "c" || got.Annotations[AnnotationRestartCount] != "3" || got.Annotations[AnnotationGracePeriod] != "7" {
		t.Errorf("labels = %v, annotations = %v", got.Labels, got.Annotations)
	}
	if Hash(&v1.Container{Name: "c", Image: "a"}) == Hash(&v1.Container{Name: "c", Image: "b"}) {
		t.Error("another image has the same hash")
	}
}

func TestSecurity(t *testing.T) {
	pod := &v1.Pod{Spec: v1.PodSpec{
		ShareProcessNamespace: ptr(true),
		SecurityContext: &v1.PodSecurityContext{
			RunAsUser: ptr(int64(1000)), RunAsGroup: ptr(int64(2000)), FSGroup: ptr(int64(3000)), SupplementalGroups: []int64{4000},
			SeccompProfile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []v1.Container{{Name: "c", SecurityContext: &v1.SecurityContext{
			RunAsUser: ptr(int64(1001)), ReadOnlyRootFilesystem: ptr(true), AllowPrivilegeEscalation: ptr(false),
			Capabilities: &v1.Capabilities{Add: []v1.Capability{"NET_ADMIN"}, Drop: []v1.Capability{"ALL"}},
		}}},
	}}
	config, err := container(t, pod, ImageUser{})
	if err != nil {
		t.Fatal(err)
	}
	sc := config.Linux.SecurityContext
	if sc.RunAsUser.Value != 1001 || sc.RunAsGroup.Value != 2000 || !sc.ReadonlyRootfs || !sc.NoNewPrivs || sc.Privileged {
		t.Errorf("security context = %+v", sc)
	}
	if d := cmp.Diff([]int64{3000, 4000}, sc.SupplementalGroups); d != "" {
		t.Error(d)
	}
	if sc.Seccomp.ProfileType != runtimeapi.SecurityProfile_RuntimeDefault || sc.NamespaceOptions.Pid != runtimeapi.NamespaceMode_POD {
		t.Errorf("security context = %+v", sc)
	}
	if sc.Capabilities.AddCapabilities[0] != "NET_ADMIN" || sc.Capabilities.DropCapabilities[0] != "ALL" || len(sc.MaskedPaths) == 0 {
		t.Errorf("security context = %+v", sc)
	}
}

func TestNonRoot(t *testing.T) {
	for _, c := range []struct {
		name string
		sc   *v1.SecurityContext
		user ImageUser
		want string
	}{
		{"image runs as root", &v1.SecurityContext{RunAsNonRoot: ptr(true)}, ImageUser{UID: ptr(int64(0))}, "image will run as root"},
		{"image runs as a user", &v1.SecurityContext{RunAsNonRoot: ptr(true)}, ImageUser{UID: ptr(int64(101))}, ""},
		{"image names a user", &v1.SecurityContext{RunAsNonRoot: ptr(true)}, ImageUser{Name: "nginx"}, "non-numeric user (nginx)"},
		{"pod says root", &v1.SecurityContext{RunAsNonRoot: ptr(true), RunAsUser: ptr(int64(0))}, ImageUser{}, "runAsUser breaks non-root policy"},
		{"pod says a user", &v1.SecurityContext{RunAsNonRoot: ptr(true), RunAsUser: ptr(int64(5))}, ImageUser{UID: ptr(int64(0))}, ""},
		{"nobody asks", nil, ImageUser{UID: ptr(int64(0))}, ""},
	} {
		pod := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", SecurityContext: c.sc}}}}
		_, err := container(t, pod, c.user)
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error = %v, want %q", c.name, err, c.want)
		}
	}
}

func TestResources(t *testing.T) {
	list := func(cpu, memory string) v1.ResourceList {
		l := v1.ResourceList{}
		if cpu != "" {
			l[v1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			l[v1.ResourceMemory] = resource.MustParse(memory)
		}
		return l
	}
	for _, c := range []struct {
		name                       string
		requests, limits           v1.ResourceList
		shares, quota, memory, oom int64
	}{
		{"best effort", nil, nil, 2, 0, 0, 1000},
		{"guaranteed", list("500m", "1Gi"), list("500m", "1Gi"), 512, 50000, 1 << 30, -997},
		{"burstable", list("100m", "1Gi"), nil, 102, 0, 0, 750},
		{"limits only", nil, list("1", "512Mi"), 1024, 100000, 512 << 20, 1000},
		{"least quota", list("1m", ""), list("1m", ""), 2, 1000, 0, 999},
	} {
		pod := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Resources: v1.ResourceRequirements{Requests: c.requests, Limits: c.limits}}}}}
		if c.name == "limits only" {
			c.oom = 999 // the API server would have filled in the requests
		}
		config, err := container(t, pod, ImageUser{})
		if err != nil {
			t.Fatal(err)
		}
		r := config.Linux.Resources
		if r.CpuShares != c.shares || r.CpuQuota != c.quota || r.MemoryLimitInBytes != c.memory {
			t.Errorf("%s: resources = %+v", c.name, r)
		}
		if c.name != "limits only" && r.OomScoreAdj != c.oom {
			t.Errorf("%s: OOM score = %d, want %d", c.name, r.OomScoreAdj, c.oom)
		}
	}
}

func TestSandboxConfig(t *testing.T) {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Annotations: map[string]string{"a": "b"}}, Spec: v1.PodSpec{
		SecurityContext: &v1.PodSecurityContext{Sysctls: []v1.Sysctl{{Name: "net.ipv4.ip_local_port_range", Value: "1024 65535"}, {Name: "net/ipv4/conf/eno2.100/rp_filter", Value: "1"}}},
		Containers:      []v1.Container{{Name: "c", Ports: []v1.ContainerPort{{ContainerPort: 80, HostPort: 8080}, {ContainerPort: 53, Protocol: v1.ProtocolUDP}}}},
	}}
	got, err := Sandbox(SandboxInput{Pod: pod, Attempt: 2, LogDir: "/l", CgroupParent: "/g", ClusterDomain: "cluster.local"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Hostname != "p" || got.Metadata.Attempt != 2 || got.LogDirectory != "/l" || got.Linux.CgroupParent != "/g" || got.Annotations["a"] != "b" || got.Labels[LabelPodUID] != "u" {
		t.Errorf("config = %+v", got)
	}
	if len(got.PortMappings) != 2 || got.PortMappings[0].HostPort != 8080 || got.PortMappings[1].Protocol != runtimeapi.Protocol_UDP {
		t.Errorf("ports = %+v", got.PortMappings)
	}
	if _, ok := got.Linux.Sysctls["net.ipv4.conf.eno2/100.rp_filter"]; !ok {
		t.Errorf("sysctls = %v", got.Linux.Sysctls)
	}
	pod.Spec.HostNetwork = true
	if got, _ := Sandbox(SandboxInput{Pod: pod}); got.Hostname != "" || got.Linux.SecurityContext.NamespaceOptions.Network != runtimeapi.NamespaceMode_NODE {
		t.Errorf("config on the node's network = %+v", got)
	}
}
