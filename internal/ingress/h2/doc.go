// Package h2 is the HTTP/2 wire engine of the ingress (RFC 9113), for both roles: connections from clients, and
// connections to endpoints that speak HTTP/2 (gRPC).
//
// It knows nothing of routes, TLS or logs: it reads and writes a connection that it is given, and hands out streams
// with their header as an h1.Header. It may import its sibling h1, host/socket, and golang.org/x/net/http2/hpack, which
// decodes header blocks.
//
// # How it works
//
// One goroutine reads a connection (Run). It takes all frames of what has come, and only then starts what serves the new
// streams, each on a goroutine of its own: a small body is there with its header. Answers are appended to what the
// connection has to write, by whoever has them. The first one to flush writes, once the goroutines that are ready have
// run, and goes on with what others have appended meanwhile: under load many answers make one record of TLS and one system
// call. The goroutine that reads never writes, so that two sides cannot wait for one another.
//
// Header blocks that are sent have no dynamic table: they need no order among the streams, and no memory. The other side is
// told so with the first one.
//
// # What is bounded
//
// Streams at once, and the goroutines that serve streams, those of streams that were reset included; the size of a header
// block, and in how many frames it comes; what is buffered of bodies, by windows; what waits to be written; how often a
// client may reset streams, and how many frames it may send that cost this side work and itself nothing; how long a header
// block, a body and a window may take; and how long a connection may be silent.
package h2
