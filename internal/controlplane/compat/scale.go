package compat

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// scaler is what upstream's storage for the scale of a workload can do.
type scaler interface {
	rest.Patcher
	rest.GroupVersionKindProvider
	rest.TableConvertor
}

// scaleStorage is the scale of a workload in an old version. Upstream's knows which
// kind of Scale that has, but ends the process when it finds the version in a request
// that changes the scale, so it is shown today's.
type scaleStorage struct {
	scaler
	today schema.GroupVersion
}

// Destroy implements rest.Storage. Today's version destroys what they share.
func (scaleStorage) Destroy() {}

// Update implements rest.Updater.
func (s scaleStorage) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, force bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	if asked, ok := request.RequestInfoFrom(ctx); ok {
		shown := *asked
		shown.APIGroup, shown.APIVersion = s.today.Group, s.today.Version
		ctx = request.WithRequestInfo(ctx, &shown)
	}
	return s.scaler.Update(ctx, name, info, create, update, force, options)
}
