// Package nginx reads what users of ingress-nginx have written: the annotations of an Ingress into table.Options, its
// ConfigMap into table.Settings, and what it can't honour into findings that name the annotation or key, the value, and
// the remedy. Annotations lists them all; the reader, the documentation and the report of Check follow this one list.
//
// The package is pure: no I/O, no clock, no client, no randomness. Nothing that users write becomes text of a
// configuration: each value is parsed once into a typed one, variables are of a closed list, and no value holds CR, LF or
// NUL. A value that concerns access and can't be honoured closes the Ingress's paths (table.Options.Fault); no such
// value is replaced by a default. It may import the standard library, the Kubernetes API types, table, regex and certs.
package nginx
