package spec

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/pkg/kubelet/envvars"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// Objects gives the ConfigMaps and Secrets that an environment refers to.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*v1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*v1.Secret, error)
}

// EnvInput is what the environment of a container depends on.
type EnvInput struct {
	Pod       *v1.Pod
	Container *v1.Container
	// PodIPs and HostIPs are the values of status.podIPs and status.hostIPs in
	// the downward API.
	PodIPs, HostIPs []string
	// Allocatable stands in for limits that the container does not set.
	Allocatable func() v1.ResourceList
	// Services are all Services that the node knows.
	Services []*v1.Service
	Objects  Objects
	// Files are those of the Pod's volumes; nil has none.
	Files Files
}

// Environment computes a container's variables: those of envFrom, then those of
// env, then one set for each Service. A later one of the same name wins, but a
// Service never overrides what the Pod says.
func Environment(ctx context.Context, in EnvInput) ([]*runtimeapi.KeyValue, error) {
	e := &environment{EnvInput: in, vars: map[string]string{}, services: serviceVariables(in.Pod, in.Services)}
	for i := range in.Container.EnvFrom {
		if err := e.addFrom(ctx, &in.Container.EnvFrom[i]); err != nil {
			return nil, err
		}
	}
	lookup := expansion.MappingFuncFor(e.vars, e.services)
	for i := range in.Container.Env {
		v := &in.Container.Env[i]
		value, skip, err := e.value(ctx, v, lookup)
		if err != nil {
			return nil, err
		}
		if !skip {
			e.set(v.Name, value)
		}
	}
	out := make([]*runtimeapi.KeyValue, 0, len(e.order)+len(e.services))
	for _, name := range e.order {
		out = append(out, &runtimeapi.KeyValue{Key: name, Value: []byte(e.vars[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(e.services)) {
		if _, taken := e.vars[name]; !taken {
			out = append(out, &runtimeapi.KeyValue{Key: name, Value: []byte(e.services[name])})
		}
	}
	return out, nil
}

type environment struct {
	EnvInput
	vars     map[string]string
	order    []string
	services map[string]string
}

func (e *environment) set(name, value string) {
	if _, ok := e.vars[name]; !ok {
		e.order = append(e.order, name)
	}
	e.vars[name] = value
}

func (e *environment) addFrom(ctx context.Context, from *v1.EnvFromSource) error {
	data := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		cm, err := e.Objects.ConfigMap(ctx, e.Pod.Namespace, from.ConfigMapRef.Name)
		if missing(err, from.ConfigMapRef.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		data = cm.Data
	case from.SecretRef != nil:
		s, err := e.Objects.Secret(ctx, e.Pod.Namespace, from.SecretRef.Name)
		if missing(err, from.SecretRef.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		for k, v := range s.Data {
			data[k] = string(v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		e.set(from.Prefix+k, data[k])
	}
	return nil
}

// value computes one variable; skip says that an optional source is absent.
func (e *environment) value(ctx context.Context, v *v1.EnvVar, lookup func(string) string) (value string, skip bool, err error) {
	if v.Value != "" || v.ValueFrom == nil {
		return expansion.Expand(v.Value, lookup), false, nil
	}
	switch from := v.ValueFrom; {
	case from.FieldRef != nil:
		value, err = e.field(from.FieldRef)
		return value, false, err
	case from.ResourceFieldRef != nil:
		value, err = e.resource(from.ResourceFieldRef)
		return value, false, err
	case from.ConfigMapKeyRef != nil:
		return e.configMapKey(ctx, from.ConfigMapKeyRef)
	case from.SecretKeyRef != nil:
		return e.secretKey(ctx, from.SecretKeyRef)
	case from.FileKeyRef != nil:
		return e.fileKey(ctx, from.FileKeyRef)
	}
	return "", false, fmt.Errorf("environment variable %s: its valueFrom names a source that this node does not support", v.Name)
}

func (e *environment) configMapKey(ctx context.Context, ref *v1.ConfigMapKeySelector) (string, bool, error) {
	cm, err := e.Objects.ConfigMap(ctx, e.Pod.Namespace, ref.Name)
	if missing(err, ref.Optional) {
		return "", true, nil
	}
	if err != nil {
		return "", false, err
	}
	value, ok := cm.Data[ref.Key]
	if !ok && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, e.Pod.Namespace, ref.Name)
	}
	return value, !ok, nil
}

func (e *environment) secretKey(ctx context.Context, ref *v1.SecretKeySelector) (string, bool, error) {
	s, err := e.Objects.Secret(ctx, e.Pod.Namespace, ref.Name)
	if missing(err, ref.Optional) {
		return "", true, nil
	}
	if err != nil {
		return "", false, err
	}
	value, ok := s.Data[ref.Key]
	if !ok && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, e.Pod.Namespace, ref.Name)
	}
	return string(value), !ok, nil
}

// field returns the value of one field of the Pod, for the downward API.
func (e *environment) field(ref *v1.ObjectFieldSelector) (string, error) {
	first := func(ips []string) string {
		if len(ips) == 0 {
			return ""
		}
		return ips[0]
	}
	switch ref.FieldPath {
	case "spec.nodeName":
		return e.Pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return e.Pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(e.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(e.HostIPs, ","), nil
	case "status.podIP":
		return first(e.PodIPs), nil
	case "status.podIPs":
		return strings.Join(e.PodIPs, ","), nil
	}
	return fieldpath.ExtractFieldPathAsString(e.Pod, ref.FieldPath)
}

func (e *environment) resource(ref *v1.ResourceFieldSelector) (string, error) {
	var allocatable v1.ResourceList
	if e.Allocatable != nil {
		allocatable = e.Allocatable()
	}
	return ResourceField(e.Pod, e.Container.Name, ref, allocatable)
}

// ResourceField returns the value of a resource of a container, for the
// downward API; the reference may name another container of the Pod than
// current.
func ResourceField(pod *v1.Pod, current string, ref *v1.ResourceFieldSelector, allocatable v1.ResourceList) (string, error) {
	name := ref.ContainerName
	if name == "" {
		name = current
	}
	c := FindContainer(pod, name)
	if c == nil {
		return "", fmt.Errorf("container %s not found", name)
	}
	c = c.DeepCopy()
	c.Resources.Limits = EffectiveLimits(pod, c)
	resource.MergeContainerResourceLimits(c, allocatable)
	return resource.ExtractContainerResourceValue(ref, c)
}

// ExpandCommand replaces $(NAME) in a container's command and arguments.
func ExpandCommand(c *v1.Container, env []*runtimeapi.KeyValue) (command, args []string) {
	vars := make(map[string]string, len(env))
	for _, kv := range env {
		vars[kv.Key] = string(kv.Value)
	}
	lookup := expansion.MappingFuncFor(vars)
	expand := func(in []string) []string {
		var out []string
		for _, s := range in {
			out = append(out, expansion.Expand(s, lookup))
		}
		return out
	}
	return expand(c.Command), expand(c.Args)
}

// serviceVariables are the variables of the Services in the Pod's namespace
// (unless it opts out) and of the API server's own Service.
func serviceVariables(pod *v1.Pod, services []*v1.Service) map[string]string {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	var chosen []*v1.Service
	taken := map[string]bool{}
	for _, s := range services {
		if links && s.Namespace == pod.Namespace && hasIP(s) {
			chosen = append(chosen, s)
			taken[s.Name] = true
		}
	}
	for _, s := range services {
		if s.Namespace == v1.NamespaceDefault && s.Name == "kubernetes" && hasIP(s) && !taken[s.Name] {
			chosen = append(chosen, s)
		}
	}
	slices.SortFunc(chosen, func(a, b *v1.Service) int { return strings.Compare(a.Name, b.Name) })
	vars := map[string]string{}
	for _, v := range envvars.FromServices(chosen) {
		vars[v.Name] = v.Value
	}
	return vars
}

func hasIP(s *v1.Service) bool {
	return s.Spec.ClusterIP != "" && s.Spec.ClusterIP != v1.ClusterIPNone && len(s.Spec.Ports) > 0
}

// missing tells whether err may be passed over because the source is optional.
func missing(err error, optional *bool) bool {
	var status apierrors.APIStatus
	return err != nil && isTrue(optional) && errors.As(err, &status) && apierrors.IsNotFound(err)
}

func isTrue(b *bool) bool { return b != nil && *b }

// FindContainer returns the container or init container of that name.
func FindContainer(pod *v1.Pod, name string) *v1.Container {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i]
		}
	}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i]
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			c := v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			return &c
		}
	}
	return nil
}
