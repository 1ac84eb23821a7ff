package spec

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What a Pod shares with its node, or its containers with each other.
func TestSharedNamespaces(t *testing.T) {
	const (
		own  = runtimeapi.NamespaceMode_CONTAINER
		pods = runtimeapi.NamespaceMode_POD
		node = runtimeapi.NamespaceMode_NODE
	)
	yes := true
	for name, tc := range map[string]struct {
		spec              v1.PodSpec
		network, pid, ipc runtimeapi.NamespaceMode
	}{
		"nothing":   {v1.PodSpec{}, pods, own, pods},
		"network":   {v1.PodSpec{HostNetwork: true}, node, own, pods},
		"processes": {v1.PodSpec{HostPID: true}, pods, node, pods},
		"IPC":       {v1.PodSpec{HostIPC: true}, pods, own, node},
		"its own":   {v1.PodSpec{ShareProcessNamespace: &yes}, pods, pods, pods},
	} {
		tc.spec.Containers = []v1.Container{{Name: "c"}}
		pod := &v1.Pod{Spec: tc.spec}
		sandbox, err := Sandbox(SandboxInput{Pod: pod})
		if err != nil {
			t.Fatal(err)
		}
		config, err := container(t, pod, ImageUser{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []*runtimeapi.NamespaceOption{sandbox.Linux.SecurityContext.NamespaceOptions, config.Linux.SecurityContext.NamespaceOptions} {
			if o.Network != tc.network || o.Pid != tc.pid || o.Ipc != tc.ipc {
				t.Errorf("%s: %v", name, o)
			}
		}
	}
}

// A container's profile goes before the Pod's.
func TestSeccompProfiles(t *testing.T) {
	file := "profiles/mine.json"
	pod := &v1.Pod{Spec: v1.PodSpec{
		SecurityContext: &v1.PodSecurityContext{SeccompProfile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeLocalhost, LocalhostProfile: &file}},
		Containers:      []v1.Container{{Name: "c"}},
	}}
	config, err := container(t, pod, ImageUser{})
	if got := config.GetLinux().GetSecurityContext().GetSeccomp(); err != nil || got.GetProfileType() != runtimeapi.SecurityProfile_Localhost || got.GetLocalhostRef() != file {
		t.Errorf("the Pod's profile: %v, %v", got, err)
	}
	pod.Spec.Containers[0].SecurityContext = &v1.SecurityContext{SeccompProfile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeRuntimeDefault}}
	config, err = container(t, pod, ImageUser{})
	if got := config.GetLinux().GetSecurityContext().GetSeccomp(); err != nil || got.GetProfileType() != runtimeapi.SecurityProfile_RuntimeDefault {
		t.Errorf("the container's profile: %v, %v", got, err)
	}
	pod.Spec.Containers[0].SecurityContext.SeccompProfile = &v1.SeccompProfile{Type: v1.SeccompProfileTypeLocalhost}
	if _, err := container(t, pod, ImageUser{}); err == nil {
		t.Error("a profile of type Localhost without localhostProfile is accepted")
	}
}
