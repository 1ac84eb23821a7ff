// Package h1 is the HTTP/1 wire engine of the ingress: it parses and writes the
// messages of both sides, requests of clients and responses of backends, and it
// frames their bodies, all over pooled buffers without an allocation per message.
//
// It knows nothing of routes, connections, deadlines, TLS or logs: it reads from
// an io.Reader, it appends to a []byte, and it returns typed errors that carry
// the status to answer with. It imports the standard library alone.
//
// # Use
//
// One Reader belongs to one connection. A server does, for each request:
//
//	err := rd.ReadRequest(&req, &limits)   // views into the buffer of rd
//	…                                      // route, edit req.Header
//	for {                                  // forward the body
//		p, err := req.Body.Next()          // a view, valid until the next call
//	}
//
// Every view ([]byte) of a Request, Response or Header is valid until the next
// ReadRequest, ReadResponse, Release or Close on the same Reader: reading the body
// never moves the head. Between requests Release gives the buffer back, so that an
// idle connection holds none; Space and Filled let the owner of the socket read
// the first bytes by a system call that is made only when there are some.
//
// # What is refused
//
// Whatever two HTTP parsers could read in two ways is an *Error, never repaired:
// bare CR or LF, control bytes, folded lines, space before a colon, empty or
// malformed names, repeated or malformed Content-Length, Content-Length beside
// Transfer-Encoding, any coding but chunked, Transfer-Encoding in HTTP/1.0,
// missing, repeated or malformed Host, raw spaces, controls and fragments in the
// target. What is written is safe whatever was set: fields with CR, LF or other
// control bytes cannot be set, and targets are percent-encoded where they must be.
//
// Where nginx and RFC 9110/9112 leave a choice, nginx's is taken as ingress-nginx
// configures it; the exceptions are named at the function that makes them.
package h1
