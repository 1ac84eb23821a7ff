// Package access lists who, besides upstream's own identities, may do what in
// a cluster: the users that Minato's parts have at the API server, and the
// roles and bindings that give each of them what it reads and writes and
// nothing else. No part is in the group system:masters.
//
// The package only holds data. It may import API types, the names of identities
// in package pki and that of the namespace of MetalLB's objects.
package access
