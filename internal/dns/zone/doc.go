// Package zone decides what a DNS question about the cluster answers.
//
// It holds the names of Services, endpoints and Pods (Kubernetes DNS-Based
// Service Discovery 1.1.0) in an immutable Snapshot and turns a Question into
// an Answer, with the reasons when they are asked for. One decision is made for
// a question, whether it is served in the wire format (AppendAnswer), as records
// (Lookup) or with its reasons (Explain). A Table is the one writer: it is fed API
// objects and publishes a new Snapshot on Commit, which shares everything that did
// not change with the one before.
//
// The package is pure: no I/O, no clock, no client, no goroutine. It may import
// the standard library, k8s.io/api types and miekg/dns for record types only.
package zone
