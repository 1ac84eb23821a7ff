// Package compat has the API server serve old versions of Kubernetes' kinds,
// which upstream no longer serves, by conversion: of Ingress and IngressClass so
// far. Upstream's packages still have the types, defaults and conversions of
// these versions, so an old version is one more version of today's resource: it
// has the same storage, in which objects are in today's form, and with it watch,
// patch, tables, field management and OpenAPI documents.
//
// A kind is one row of resources and a function that says what differs in today's
// form. Whatever else has to be done for an old version is done for all of them:
// storage for it (Extend), its order in discovery (Priorities), admission by
// upstream's plugins as for today's version (Decorator), warnings that show
// today's form (AddWarnings), and controllers that don't see an object twice
// (Discovery).
//
// The package must not change what today's versions do, and keeps no state. It
// may import k8s.io/kubernetes and its staging modules.
package compat
