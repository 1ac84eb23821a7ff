// Package image is the content store of one machine: container images, by
// name, and their layers, unpacked once and shared by every image, container
// and node that uses them.
//
// Images come from files (docker-archive tars and OCI layouts, see
// [Store.Load]) or from registries ([Service.PullImage]). Layers become
// directories that are used as overlayfs lower directories as they are
// ([Store.MountRootfs]).
//
// One directory may be used by several processes and by any number of
// goroutines at a time: writers take a file lock, and readers notice that the
// index was replaced. The package knows nothing of pods and containers; who
// uses an image says so with [Store.Pin]. It must not import other Minato
// packages.
package image
