package volume

import (
	"context"
	"fmt"
	"maps"
	"path"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/kubernetes/pkg/fieldpath"

	"minato/internal/node/spec"
)

// file is one file of a volume. A uid below zero leaves the owner as it is.
type file struct {
	data []byte
	mode int32
	uid  int
}

// payload computes the files of a volume that is made of API objects.
func (m *Manager) payload(ctx context.Context, pod *v1.Pod, v *v1.Volume) (map[string]file, time.Time, error) {
	var files map[string]file
	var err error
	switch s := v.VolumeSource; {
	case s.ConfigMap != nil:
		files, err = m.configMap(ctx, pod, s.ConfigMap.Name, s.ConfigMap.Items, mode(s.ConfigMap.DefaultMode, v1.ConfigMapVolumeSourceDefaultMode), s.ConfigMap.Optional)
	case s.Secret != nil:
		files, err = m.secret(ctx, pod, s.Secret.SecretName, s.Secret.Items, mode(s.Secret.DefaultMode, v1.SecretVolumeSourceDefaultMode), s.Secret.Optional)
	case s.DownwardAPI != nil:
		files, err = m.downward(pod, s.DownwardAPI.Items, mode(s.DownwardAPI.DefaultMode, v1.DownwardAPIVolumeSourceDefaultMode))
	case s.Projected != nil:
		return m.projected(ctx, pod, v.Name, s.Projected)
	}
	return files, time.Time{}, err
}

func mode(set *int32, fallback int32) int32 {
	if set != nil {
		return *set
	}
	return fallback
}

func (m *Manager) configMap(ctx context.Context, pod *v1.Pod, name string, items []v1.KeyToPath, defaultMode int32, optional *bool) (map[string]file, error) {
	opt := optional != nil && *optional
	cm, err := m.cfg.Objects.ConfigMap(ctx, pod.UID, pod.Namespace, name)
	if opt && apierrors.IsNotFound(err) {
		return map[string]file{}, nil
	}
	if err != nil {
		return nil, err
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	maps.Copy(data, cm.BinaryData)
	return pick(data, items, defaultMode, opt, "config key")
}

func (m *Manager) secret(ctx context.Context, pod *v1.Pod, name string, items []v1.KeyToPath, defaultMode int32, optional *bool) (map[string]file, error) {
	opt := optional != nil && *optional
	s, err := m.cfg.Objects.Secret(ctx, pod.UID, pod.Namespace, name)
	if opt && apierrors.IsNotFound(err) {
		return map[string]file{}, nil
	}
	if err != nil {
		return nil, err
	}
	return pick(s.Data, items, defaultMode, opt, "secret key")
}

// pick takes all keys, or those that items names under the paths they give.
func pick(data map[string][]byte, items []v1.KeyToPath, defaultMode int32, optional bool, what string) (map[string]file, error) {
	files := map[string]file{}
	if len(items) == 0 {
		for k, v := range data {
			files[k] = file{data: v, mode: defaultMode, uid: -1}
		}
		return files, nil
	}
	for _, item := range items {
		v, ok := data[item.Key]
		if !ok && optional {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("references non-existent %s: %s", what, item.Key)
		}
		p, err := cleanPath(item.Path)
		if err != nil {
			return nil, err
		}
		files[p] = file{data: v, mode: mode(item.Mode, defaultMode), uid: -1}
	}
	return files, nil
}

// allocatable is what the node tells of limits that a container has not set.
func (m *Manager) allocatable() v1.ResourceList {
	if m.cfg.Allocatable == nil {
		return nil
	}
	return m.cfg.Allocatable()
}

func (m *Manager) downward(pod *v1.Pod, items []v1.DownwardAPIVolumeFile, defaultMode int32) (map[string]file, error) {
	files := map[string]file{}
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = fieldpath.ExtractFieldPathAsString(pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = spec.ResourceField(pod, "", item.ResourceFieldRef, m.allocatable())
		}
		if err != nil {
			return nil, err
		}
		p, err := cleanPath(item.Path)
		if err != nil {
			return nil, err
		}
		files[p] = file{data: []byte(value), mode: mode(item.Mode, defaultMode), uid: -1}
	}
	return files, nil
}

func (m *Manager) projected(ctx context.Context, pod *v1.Pod, volume string, p *v1.ProjectedVolumeSource) (map[string]file, time.Time, error) {
	all := map[string]file{}
	var renew time.Time
	dm := mode(p.DefaultMode, v1.ProjectedVolumeSourceDefaultMode)
	for i := range p.Sources {
		var files map[string]file
		var err error
		switch s := &p.Sources[i]; {
		case s.ConfigMap != nil:
			files, err = m.configMap(ctx, pod, s.ConfigMap.Name, s.ConfigMap.Items, dm, s.ConfigMap.Optional)
		case s.Secret != nil:
			files, err = m.secret(ctx, pod, s.Secret.Name, s.Secret.Items, dm, s.Secret.Optional)
		case s.DownwardAPI != nil:
			files, err = m.downward(pod, s.DownwardAPI.Items, dm)
		case s.ServiceAccountToken != nil:
			var next time.Time
			files, next, err = m.serviceAccountToken(ctx, pod, volume, s.ServiceAccountToken, dm)
			if !next.IsZero() && (renew.IsZero() || next.Before(renew)) {
				renew = next
			}
		default:
			err = fmt.Errorf("source %d of the projected volume is of a type that this node does not support", i)
		}
		if err != nil {
			return nil, renew, err
		}
		maps.Copy(all, files)
	}
	return all, renew, nil
}

// cleanPath refuses a path that would leave its volume.
func cleanPath(p string) (string, error) {
	clean := path.Clean(p)
	if path.IsAbs(p) || clean == "." || strings.HasPrefix(clean, "..") {
		return "", fmt.Errorf("path %q must be relative, and may not begin with '..'", p)
	}
	return clean, nil
}
