// Package suite is nothing but the place from which csi-sanity of
// github.com/kubernetes-csi/csi-test is built, at versions of its own.
package suite
