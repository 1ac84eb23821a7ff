// Package images makes the container images that the tests and the demo use,
// without a registry and without a container engine: from the packages of the
// Debian that this machine runs, and from small Go programs of this repository.
// They carry the names that articles about Kubernetes use (nginx:1.12,
// centos:6, redis:3.2, …) so that their commands can be typed as they stand; what
// is inside is Debian's current version, and an nginx stands in for the frontend
// of the guestbook.
//
// No package's maintainer scripts run: the few files they would have made are
// written here. Layers are shared between images and made once; everything has
// fixed times and order, so the same packages give the same image.
//
// It may run apt-cache, apt-get, dpkg-deb and go. It must not touch the
// machine's own packages. Nothing but build/ imports it.
package images
