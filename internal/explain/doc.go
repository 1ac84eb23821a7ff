// Package explain tells why traffic goes where it goes: what a node makes of each
// Service, and what becomes of a name that a Pod looks up. It asks the functions
// and objects that steer the traffic, so what is said is what is done, and it
// decides nothing itself.
//
// It may import features and the Kubernetes API types.
package explain
