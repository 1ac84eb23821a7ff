// Package proxyproto decodes and encodes the header of the PROXY protocol, versions 1
// and 2, which a load balancer puts before a connection's first byte to tell whose
// connection it is (haproxy's doc/proxy-protocol.txt).
//
// It is strict and bounded: a header is taken as the specification writes it or
// refused. Which peers are believed, and how long is waited for a header, is the
// caller's business; a listener that expects headers must refuse connections
// without one, since anyone could send it. Of version 2, type-length-values are passed
// over, their checksum included. It imports the standard library alone.
package proxyproto
