// Package proxy is the data path of the ingress: it accepts connections, reads requests of HTTP/1 and HTTP/2, finds
// their route in the table, calls the filters' hooks, and moves bytes between clients and endpoints.
//
// It must not know objects of the API, annotations, or what filters do. What it serves is given to it: SetTable and
// SetEndpoints swap pointers, and nothing that is under way notices. It may import its siblings exchange, h1, h2,
// proxyproto, table and regex, and host/limit.
//
// # The hot path
//
// A connection of HTTP/1 is one goroutine. It waits, reads, asks the endpoint and answers inside one call of
// syscall.RawConn.Read on the client's connection, so the runtime's poller tells it of bytes that come meanwhile, and no
// system call is spent on finding out that there are none: a small request is a read, a write, a read and a write. What does
// not fit (bodies that have not come yet, upgrades, TLS) leaves that call and reads as usual. Deadlines are words that one
// goroutine looks at now and then (watcher); timers are not touched. Buffers come from pools and are held only while there are bytes.
//
// A connection of HTTP/2 is read by one goroutine, and each of its streams is served by another, which asks the endpoint in the
// same way; what they answer is written together (package h2).
package proxy
