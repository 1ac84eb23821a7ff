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
// index was replaced. The package knows nothing of Pods and containers: a user of
// an image pins it ([Store.Pin]), and the store remembers by whose credentials
// an image was pulled, for the node agent to decide who may use it ([Access]).
// It must not import other Minato packages but for registry, which reads from
// registries.
//
// What comes from registries and files is hostile until shown otherwise: sizes,
// counts and numbers have limits whose errors name the image and the limit,
// content is verified by digest, and no path leads out of a layer.
package image
