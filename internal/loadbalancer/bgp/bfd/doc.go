// Package bfd probes the paths to routers as RFC 5880 and RFC 5881 (or 5883, for routers behind others) say: in
// asynchronous mode, without authentication, echo or demand. gobgp's library has BFD as well, but waits for packets at
// the speed of a session that is up before it is, when a router sends one each second only, and so it never comes up
// with some.
//
// The package knows nothing of BGP, and imports nothing of Minato.
package bfd
