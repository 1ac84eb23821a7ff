package compat

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"

	"minato/internal/controlplane/compat/gone"
)

const (
	// oldGroup is the rank of a group that has old versions alone: after all of
	// Kubernetes' own groups and before those of custom resources, so that a bare
	// resource name means today's version.
	oldGroup = 9000
	// oldVersion is the rank of a version within its group; upstream gives 9 to
	// beta versions.
	oldVersion = 9
)

// Extend adds the old versions to the groups that are about to be installed, and
// returns the groups with those that there are for old versions alone. It must
// come after upstream has taken away the versions that it no longer serves.
func Extend(groups []*genericapiserver.APIGroupInfo) ([]*genericapiserver.APIGroupInfo, error) {
	groups = slices.Clone(groups)
	for _, r := range resources {
		today, ok := findGroup(groups, r.today.Group)
		if !ok {
			return nil, fmt.Errorf("serve %s %s: group %s is not served", r.old, r.kind, r.today.Group)
		}
		old, ok := findGroup(groups, r.old.Group)
		if !ok {
			info := genericapiserver.NewDefaultAPIGroupInfo(r.old.Group, legacyscheme.Scheme, legacyscheme.ParameterCodec, legacyscheme.Codecs)
			old = &info
			groups = append(groups, old)
		}
		if !slices.Contains(old.PrioritizedVersions, r.old) {
			return nil, fmt.Errorf("serve %s %s: Kubernetes' packages do not know this version", r.old, r.kind)
		}
		served := old.VersionedResourcesStorageMap[r.old.Version]
		if served == nil {
			served = map[string]rest.Storage{}
			old.VersionedResourcesStorageMap[r.old.Version] = served
		}
		names := []string{r.name}
		for _, s := range r.subresources {
			names = append(names, r.name+"/"+s)
		}
		for _, name := range names {
			storage, ok := today.VersionedResourcesStorageMap[r.today.Version][name]
			if !ok {
				return nil, fmt.Errorf("serve %s %s: %s of %s is not served", r.old, r.kind, name, r.today)
			}
			if s, ok := storage.(scaler); ok && strings.HasSuffix(name, "/scale") {
				storage = scaleStorage{s, r.today}
			}
			if s, ok := storage.(store); ok && name == r.name && r.old.Group != r.today.Group {
				storage = twinStorage{s}
			}
			served[name] = storage
		}
	}
	for _, gv := range gone.PolicyVersions {
		if g, ok := findGroup(groups, gv.Group); ok {
			g.VersionedResourcesStorageMap[gv.Version][policies] = policyStorage{gv.WithResource(policies).GroupResource()}
		}
	}
	return groups, nil
}

func findGroup(groups []*genericapiserver.APIGroupInfo, name string) (*genericapiserver.APIGroupInfo, bool) {
	i := slices.IndexFunc(groups, func(g *genericapiserver.APIGroupInfo) bool {
		return len(g.PrioritizedVersions) > 0 && g.PrioritizedVersions[0].Group == name
	})
	if i < 0 {
		return nil, false
	}
	return groups[i], true
}

// AddPriorities adds the order of the old versions in discovery to that of
// today's: a version comes after those that its group has already.
func AddPriorities(all map[schema.GroupVersion]controlplaneapiserver.APIServicePriority) {
	for _, r := range append(slices.Clone(resources), definition) {
		if _, ok := all[r.old]; ok {
			continue
		}
		rank := int32(oldGroup)
		for gv, p := range all {
			if gv.Group == r.old.Group {
				rank = p.Group // equal for all versions of a group
			}
		}
		all[r.old] = controlplaneapiserver.APIServicePriority{Group: rank, Version: oldVersion}
	}
}
