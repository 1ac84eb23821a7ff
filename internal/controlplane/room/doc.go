// Package room keeps the embedded store from filling its disk: etcd ends the
// process that it is in when it can't write. While little is left, the API server
// refuses what would store more, and says why; what frees room, leases, events
// and what nodes say of themselves and of Pods are still taken, so that the
// cluster goes on and tells what it lacks. When somebody else has filled the
// disk, a reserve is given up for these.
//
// It must not know what is stored; it may import the API server's request
// information.
package room
