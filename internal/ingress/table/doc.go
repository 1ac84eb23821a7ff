// Package table decides which route an HTTP request takes, and what is done to it on the way: from Ingresses and settings
// it makes an immutable Table of hosts, paths and filters, and for a request it names the route, with the reasons on
// request.
//
// The package is pure: no clock, no I/O, no client, no chance in what it answers. It must stay so, because the same
// functions steer the requests and explain them. Its model knows routes, matches, filters and backends; what annotations
// say is read elsewhere (package nginx) into Options. It may import the standard library, the Kubernetes API types, and
// regex.
//
// In use:
//
//	class, served, reason := Classify(object, classes, ClassConfig{…})
//	b := NewBuilder()
//	b.SetSettings(settings)              // *Settings
//	b.Set(&Ingress{Object: …})           // also for a changed one; then left alone
//	b.Delete(types.NamespacedName{…})
//	t := b.Table()                       // cheap where little changed; unchanged Routes, Servers, Upstreams are the same pointers
//
//	var m Match                          // one for each connection, used again
//	path, flags, err := NormalizePath(buf[:0], rawPath)
//	t.Match(hostHeader, path, &m)        // m.Route, m.Server, m.Captures, m.RedirectHost, m.TLS, m.Err
//	up, canary, reason := m.Route.Backend.Choose(lookup, random)
//
//	server, certificate := t.CertificateFor(sni)
//	t.Misdirected(sni, hostHeader)       // 421
//	t.TLS(hostHeader)                    // whether the host has TLS, for ssl-redirect
//
//	t.Explain(Request{…}), t.Routes(), t.Steps(route), t.Findings(key)
package table
