// Package table decides which route an HTTP request takes, and what is done to it on the way: from a snapshot of
// Ingresses, IngressClasses and settings it makes an immutable Table of hosts, paths and filters, and for a request it
// names the route, with the reasons on request.
//
// The package is pure: no clock, no I/O, no client, no randomness. It must stay so, because the same functions steer the
// requests and explain them. Its model knows routes, matches, filters and backends; what annotations say is read
// elsewhere (package nginx) into Options. It may import the standard library, the Kubernetes API types, and regex.
package table
