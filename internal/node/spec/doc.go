// Package spec translates a Pod of the API into what the container runtime is
// given: sandbox and container configurations, environment, command line,
// security context, resources, resolv.conf and /etc/hosts.
//
// It is pure: it reads its arguments only (the referenced ConfigMaps and
// Secrets through an interface), touches no file, no clock and no runtime. It
// may import API types, the CRI messages and upstream's small helpers.
package spec
