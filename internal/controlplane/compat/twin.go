package compat

import "k8s.io/apiserver/pkg/registry/rest"

// store is what upstream's storage of a kind can do, but for short names and
// categories.
type store interface {
	rest.StandardStorage
	rest.Scoper
	rest.SingularNameProvider
	rest.StorageVersionProvider
	rest.ResetFieldsStrategy
	rest.MayReturnFullObjectDeleter
	rest.CorruptObjectDeleterProvider
}

// twinStorage is the storage of a kind in a group that is not today's. It has no
// short names, of which kubectl would warn at each use that they could mean either
// group's resource, and no categories: "kubectl get all" would list every object twice.
type twinStorage struct{ store }

// Destroy implements rest.Storage. Today's version destroys what they share.
func (twinStorage) Destroy() {}
