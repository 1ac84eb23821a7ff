// Package certs reads Secrets for the ingress: certificates of hosts, authorities and lists of revoked certificates,
// certificates that backends are shown, and files of users. What can't be used is an error that names the Secret, the
// key and the remedy, in plain sentences for events.
//
// The package is pure: no I/O, no clock, no client. Whether a certificate has expired is judged by those who use it.
package certs
