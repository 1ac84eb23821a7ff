// Package explain tells why traffic goes where it goes: to which backends a
// node sends the connections of a Service, and how a name that a Pod looks up
// is answered. It asks the very functions and objects that steer the traffic,
// so the explanation is what is done. It decides nothing itself.
//
// It may import features and the Kubernetes API types.
package explain
