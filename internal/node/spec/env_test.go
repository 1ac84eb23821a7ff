package spec

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type objects struct {
	configMaps map[string]map[string]string
	secrets    map[string]map[string]string
}

func (o objects) ConfigMap(_ context.Context, _, name string) (*v1.ConfigMap, error) {
	data, ok := o.configMaps[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
	}
	return &v1.ConfigMap{Data: data}, nil
}

func (o objects) Secret(_ context.Context, _, name string) (*v1.Secret, error) {
	data, ok := o.secrets[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
	}
	s := &v1.Secret{Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s, nil
}

func service(namespace, name, ip string, ports ...v1.ServicePort) *v1.Service {
	return &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1.ServiceSpec{ClusterIP: ip, Ports: ports},
	}
}

func environ(t *testing.T, in EnvInput) map[string]string {
	t.Helper()
	if in.Pod == nil {
		in.Pod = &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}}
	}
	kvs, err := Environment(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return toMap(kvs)
}

func toMap(kvs []*runtimeapi.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range kvs {
		m[kv.Key] = string(kv.Value)
	}
	return m
}

func TestServiceVariables(t *testing.T) {
	services := []*v1.Service{
		service("default", "sample-clusterip", "10.7.246.109", v1.ServicePort{Name: "http-port", Protocol: v1.ProtocolTCP, Port: 8080}),
		service("default", "headless", v1.ClusterIPNone, v1.ServicePort{Port: 80}),
		service("other", "elsewhere", "10.7.0.9", v1.ServicePort{Port: 80}),
	}
	got := environ(t, EnvInput{Container: &v1.Container{}, Services: services})
	want := map[string]string{
		"SAMPLE_CLUSTERIP_PORT":                   "tcp://10.7.246.109:8080",
		"SAMPLE_CLUSTERIP_PORT_8080_TCP_PORT":     "8080",
		"SAMPLE_CLUSTERIP_SERVICE_HOST":           "10.7.246.109",
		"SAMPLE_CLUSTERIP_SERVICE_PORT":           "8080",
		"SAMPLE_CLUSTERIP_PORT_8080_TCP_ADDR":     "10.7.246.109",
		"SAMPLE_CLUSTERIP_SERVICE_PORT_HTTP_PORT": "8080",
		"SAMPLE_CLUSTERIP_PORT_8080_TCP":          "tcp://10.7.246.109:8080",
		"SAMPLE_CLUSTERIP_PORT_8080_TCP_PROTO":    "tcp",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestServiceLinks(t *testing.T) {
	no := false
	services := []*v1.Service{
		service("default", "kubernetes", "10.96.0.1", v1.ServicePort{Name: "https", Port: 443}),
		service("mine", "web", "10.96.0.7", v1.ServicePort{Port: 80}),
	}
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "mine"}}
	got := environ(t, EnvInput{Pod: pod, Container: &v1.Container{}, Services: services})
	if got["KUBERNETES_SERVICE_HOST"] != "10.96.0.1" || got["WEB_SERVICE_HOST"] != "10.96.0.7" {
		t.Errorf("with links: %v", got)
	}
	pod.Spec.EnableServiceLinks = &no
	got = environ(t, EnvInput{Pod: pod, Container: &v1.Container{}, Services: services})
	if _, ok := got["WEB_SERVICE_HOST"]; ok || got["KUBERNETES_SERVICE_HOST"] != "10.96.0.1" {
		t.Errorf("without links: %v", got)
	}
}

func TestEnvironmentSources(t *testing.T) {
	yes := true
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u", Labels: map[string]string{"app": "x"}},
		Spec:       v1.PodSpec{NodeName: "node-1", ServiceAccountName: "robot"},
	}
	field := func(path string) *v1.EnvVarSource {
		return &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}
	}
	ref := func(name string) v1.LocalObjectReference { return v1.LocalObjectReference{Name: name} }
	c := &v1.Container{
		Name: "main",
		Resources: v1.ResourceRequirements{
			Limits: v1.ResourceList{v1.ResourceCPU: resource.MustParse("1500m")},
		},
		EnvFrom: []v1.EnvFromSource{
			{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: ref("cm")}},
			{Prefix: "S_", SecretRef: &v1.SecretEnvSource{LocalObjectReference: ref("sec")}},
			{SecretRef: &v1.SecretEnvSource{LocalObjectReference: ref("absent"), Optional: &yes}},
		},
		Env: []v1.EnvVar{
			{Name: "PLAIN", Value: "p"},
			{Name: "EXPANDED", Value: "$(PLAIN)-$(S_key)-$$(PLAIN)-$(UNKNOWN)"},
			{Name: "OVER", Value: "env"},
			{Name: "NAME", ValueFrom: field("metadata.name")},
			{Name: "APP", ValueFrom: field("metadata.labels['app']")},
			{Name: "NODE", ValueFrom: field("spec.nodeName")},
			{Name: "ACCOUNT", ValueFrom: field("spec.serviceAccountName")},
			{Name: "IP", ValueFrom: field("status.podIP")},
			{Name: "HOST", ValueFrom: field("status.hostIP")},
			{Name: "IPS", ValueFrom: field("status.podIPs")},
			{Name: "HOSTS", ValueFrom: field("status.hostIPs")},
			{Name: "CPU", ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "limits.cpu"}}},
			{Name: "MEMORY", ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "limits.memory"}}},
			{Name: "FROM_CM", ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: ref("cm"), Key: "k"}}},
			{Name: "FROM_SECRET", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: ref("sec"), Key: "key"}}},
			{Name: "ABSENT", ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: ref("cm"), Key: "no", Optional: &yes}}},
		},
	}
	pod.Spec.Containers = []v1.Container{*c}
	got := environ(t, EnvInput{
		Pod: pod, Container: c, PodIPs: []string{"10.244.1.2", "fd00:10:244:1::2"}, HostIPs: []string{"172.30.0.11", "fd00:172:30::b"},
		Allocatable: func() v1.ResourceList { return v1.ResourceList{v1.ResourceMemory: resource.MustParse("1Gi")} },
		Objects:     objects{configMaps: map[string]map[string]string{"cm": {"k": "v", "OVER": "cm"}}, secrets: map[string]map[string]string{"sec": {"key": "s"}}},
	})
	want := map[string]string{
		"k": "v", "OVER": "env", "S_key": "s", "PLAIN": "p", "EXPANDED": "p-s-$(PLAIN)-$(UNKNOWN)",
		"NAME": "web", "APP": "x", "NODE": "node-1", "ACCOUNT": "robot", "IP": "10.244.1.2", "HOST": "172.30.0.11",
		"IPS": "10.244.1.2,fd00:10:244:1::2", "HOSTS": "172.30.0.11,fd00:172:30::b",
		"CPU": "2", "MEMORY": "1073741824", "FROM_CM": "v", "FROM_SECRET": "s",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEnvironmentErrors(t *testing.T) {
	key := func(name, key string) *v1.Container {
		return &v1.Container{Env: []v1.EnvVar{{Name: "X", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: name}, Key: key}}}}}
	}
	for _, c := range []struct {
		container *v1.Container
		want      string
	}{
		{key("absent", "k"), `secret "absent" not found`},
		{key("sec", "no"), "couldn't find key no in Secret default/sec"},
		{&v1.Container{EnvFrom: []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "absent"}}}}}, `configmap "absent" not found`},
	} {
		_, err := Environment(t.Context(), EnvInput{
			Pod: &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}}, Container: c.container,
			Objects: objects{secrets: map[string]map[string]string{"sec": {}}},
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error = %v, want %q", err, c.want)
		}
	}
}

func TestCommandExpansion(t *testing.T) {
	c := &v1.Container{Command: []string{"sh", "-c", "echo $(A) $$(A)"}, Args: []string{"$(A)$(B)", "$(", "$(C)"}}
	command, args := ExpandCommand(c, []*runtimeapi.KeyValue{{Key: "A", Value: []byte("1")}, {Key: "B", Value: []byte("2")}})
	if d := cmp.Diff([]string{"sh", "-c", "echo 1 $(A)"}, command); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"12", "$(", "$(C)"}, args); d != "" {
		t.Error(d)
	}
}
