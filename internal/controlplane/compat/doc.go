// Package compat has the API server serve old versions of Kubernetes' kinds,
// which upstream no longer serves, by conversion. Upstream's packages still have the
// types, defaults and conversions of most of these versions, and package gone has
// those that they have not. So an old version is one more version of today's resource:
// it has the same storage, in which objects are in today's form, and with it watch,
// patch, tables, field management and OpenAPI documents.
//
// A kind is one row of kinds. What differs in today's form is found out by comparing
// both (formsOf). Whatever else has to be done for an old version is done for all of
// them: storage for it (Extend; ExtendDefinitions for CustomResourceDefinitions, which
// have a server of their own), its order in discovery (Priorities), admission by
// upstream's plugins as for today's version (Decorator), what means something else today
// and warnings that show today's form (AddWarnings), and controllers that don't see an
// object twice (Discovery). PodSecurityPolicy, of which nothing is left, is refused with
// a pointer to what there is.
//
// A field of which nothing is left in today's types, topologyKeys of Services, is carried
// by an annotation between clients and the store (WithFields).
//
// The package must not change what today's versions do, and keeps no state. It
// may import k8s.io/kubernetes and its staging modules, and the pure package
// service/route, which says what the annotation means.
package compat
