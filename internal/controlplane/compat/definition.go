package compat

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// definition is CustomResourceDefinition, which is of a server and of a scheme of
// its own.
var definition = resource{
	old: apiextensionsv1beta1.SchemeGroupVersion, today: apiextensionsv1.SchemeGroupVersion,
	name: "customresourcedefinitions", kind: "CustomResourceDefinition", subresources: withStatus,
}

// keepsUnknown marks definitions of which the old version said that fields which no
// schema has are kept, as was the default: schemas that are added later keep them too.
const keepsUnknown = "minato.local/preserve-unknown-fields"

// ExtendDefinitions adds the old version of CustomResourceDefinition to the server of
// custom resources, which has today's already. options must be those of that server.
// The storage has no cache of its own, since few ask for the old version.
func ExtendDefinitions(server *genericapiserver.GenericAPIServer, options generic.RESTOptionsGetter) error {
	storage, err := customresourcedefinition.NewREST(apiextensionsapiserver.Scheme, uncached{options})
	if err != nil {
		return fmt.Errorf("serve %s %s: %w", definition.old, definition.kind, err)
	}
	info := genericapiserver.NewDefaultAPIGroupInfo(definition.old.Group, apiextensionsapiserver.Scheme, metav1.ParameterCodec, apiextensionsapiserver.Codecs)
	info.VersionedResourcesStorageMap[definition.old.Version] = map[string]rest.Storage{
		definition.name:             storage,
		definition.name + "/status": customresourcedefinition.NewStatusREST(apiextensionsapiserver.Scheme, storage),
	}
	// A group is installed once, and its list of versions with it; both versions are
	// listed in the end.
	removeGroup(server, definition.old.Group)
	if err := server.InstallAPIGroup(&info); err != nil {
		return fmt.Errorf("serve %s %s: %w", definition.old, definition.kind, err)
	}
	removeGroup(server, definition.old.Group)
	group := metav1.APIGroup{Name: definition.old.Group}
	for _, gv := range []schema.GroupVersion{definition.today, definition.old} {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	group.PreferredVersion = group.Versions[0]
	server.DiscoveryGroupManager.AddGroup(group)
	server.Handler.GoRestfulContainer.Add(discovery.NewAPIGroupHandler(server.Serializer, group).WebService())
	return nil
}

// removeGroup takes away the list of a group's versions.
func removeGroup(server *genericapiserver.GenericAPIServer, group string) {
	container := server.Handler.GoRestfulContainer
	for _, ws := range container.RegisteredWebServices() {
		if ws.RootPath() == genericapiserver.APIGroupPrefix+"/"+group {
			_ = container.Remove(ws) // it fails only for another container's
		}
	}
}

// uncached makes storage that asks the store each time.
type uncached struct{ generic.RESTOptionsGetter }

// GetRESTOptions implements generic.RESTOptionsGetter.
func (u uncached) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	o, err := u.RESTOptionsGetter.GetRESTOptions(resource, example)
	o.Decorator = generic.UndecoratedStorage
	return o, err
}

// keepUnknownFields says in the schemas what spec.preserveUnknownFields said for all of
// them, and gives a schema to definitions without one, which today must have it.
func keepUnknownFields(crd *apiextensions.CustomResourceDefinition) {
	keep := crd.Spec.PreserveUnknownFields == nil || *crd.Spec.PreserveUnknownFields
	if keep {
		if crd.Annotations == nil {
			crd.Annotations = map[string]string{}
		}
		crd.Annotations[keepsUnknown] = "true"
	}
	keep = keep || crd.Annotations[keepsUnknown] == "true"
	off := false
	crd.Spec.PreserveUnknownFields = &off
	perVersion := false
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		if v.Schema != nil {
			perVersion = true
			v.Schema = keptSchema(v.Schema, keep)
		}
	}
	if crd.Spec.Validation != nil || !perVersion {
		crd.Spec.Validation = keptSchema(crd.Spec.Validation, keep)
		return
	}
	for i := range crd.Spec.Versions {
		crd.Spec.Versions[i].Schema = keptSchema(crd.Spec.Versions[i].Schema, keep)
	}
}

// keptSchema returns a schema in which fields that it has not are kept if keep is set,
// or if it says nothing at all.
func keptSchema(validation *apiextensions.CustomResourceValidation, keep bool) *apiextensions.CustomResourceValidation {
	if validation == nil || validation.OpenAPIV3Schema == nil {
		yes := true
		return &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &apiextensions.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &yes}}
	}
	if !keep {
		return validation
	}
	root := validation.OpenAPIV3Schema.DeepCopy()
	root.Type = "object"
	keepAll(root, true)
	return &apiextensions.CustomResourceValidation{OpenAPIV3Schema: root}
}

// keepAll has a schema, and those in it, keep what they don't describe. The metadata
// of an object is the API server's matter.
func keepAll(s *apiextensions.JSONSchemaProps, root bool) {
	if s.Type == "" && !s.XIntOrString && (len(s.Properties) > 0 || len(s.Required) > 0) {
		s.Type = "object"
	}
	object := s.Type == "object" && s.AdditionalProperties == nil
	if object || s.Type == "" && !s.XIntOrString {
		yes := true
		s.XPreserveUnknownFields = &yes
	}
	for name, property := range s.Properties {
		if root && (name == "metadata" || name == "apiVersion" || name == "kind") {
			continue
		}
		keepAll(&property, false)
		s.Properties[name] = property
	}
	if s.Items != nil && s.Items.Schema != nil {
		keepAll(s.Items.Schema, false)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		keepAll(s.AdditionalProperties.Schema, false)
	}
}
