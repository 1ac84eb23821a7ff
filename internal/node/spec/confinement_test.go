package spec

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The runtime gets the fields that it can't serve, so that it can refuse the
// Pod.
func TestConfinementIsHandedOn(t *testing.T) {
	profile := func(kind v1.AppArmorProfileType, name *string) *v1.AppArmorProfile {
		return &v1.AppArmorProfile{Type: kind, LocalhostProfile: name}
	}
	no, name := false, "mine"
	pod := &v1.Pod{Spec: v1.PodSpec{
		HostUsers: &no,
		SecurityContext: &v1.PodSecurityContext{
			AppArmorProfile: profile(v1.AppArmorProfileTypeRuntimeDefault, nil),
			SELinuxOptions:  &v1.SELinuxOptions{Level: "s0:c1"},
		},
		Containers: []v1.Container{{Name: "c", SecurityContext: &v1.SecurityContext{
			AppArmorProfile: profile(v1.AppArmorProfileTypeLocalhost, &name),
			SELinuxOptions:  &v1.SELinuxOptions{Type: "spc_t"},
		}}},
	}}
	own := UserNamespace(131072, 65536)
	sandbox, err := Sandbox(SandboxInput{Pod: pod, Users: own})
	if err != nil {
		t.Fatal(err)
	}
	sc := sandbox.Linux.SecurityContext
	mapped := func(m []*runtimeapi.IDMapping) bool {
		return len(m) == 1 && m[0].HostId == 131072 && m[0].ContainerId == 0 && m[0].Length == 65536
	}
	users := func(o *runtimeapi.NamespaceOption) bool {
		u := o.GetUsernsOptions()
		return u != nil && u.Mode == runtimeapi.NamespaceMode_POD && mapped(u.Uids) && mapped(u.Gids)
	}
	if !users(sc.NamespaceOptions) {
		t.Errorf("sandbox: %v", sc.NamespaceOptions)
	}
	config, err := Container(ContainerInput{Pod: pod, Container: &pod.Spec.Containers[0], Users: own, Mounts: []*runtimeapi.Mount{{ContainerPath: "/x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if m := config.Mounts[0]; !mapped(m.UidMappings) || !mapped(m.GidMappings) || !OwnUsers(pod) {
		t.Errorf("a mount's owners: %v", m)
	}
	csc := config.Linux.SecurityContext
	if csc.Apparmor.GetLocalhostRef() != "mine" || csc.SelinuxOptions.GetType() != "spc_t" || !users(csc.NamespaceOptions) {
		t.Errorf("container: %v", csc)
	}
	plain := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c"}}}}
	config, err = container(t, plain, ImageUser{})
	if err != nil {
		t.Fatal(err)
	}
	if csc := config.Linux.SecurityContext; csc.Apparmor != nil || csc.SelinuxOptions != nil || csc.NamespaceOptions.UsernsOptions != nil {
		t.Errorf("a container without wishes: %v", csc)
	}
	for kind, want := range map[v1.AppArmorProfileType]runtimeapi.SecurityProfile_ProfileType{
		v1.AppArmorProfileTypeUnconfined:     runtimeapi.SecurityProfile_Unconfined,
		v1.AppArmorProfileTypeLocalhost:      runtimeapi.SecurityProfile_Localhost,
		v1.AppArmorProfileTypeRuntimeDefault: runtimeapi.SecurityProfile_RuntimeDefault,
	} {
		plain.Spec.SecurityContext = &v1.PodSecurityContext{AppArmorProfile: profile(kind, nil)}
		if got := appArmor(plain, &plain.Spec.Containers[0]); got.GetProfileType() != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
}
