// Package identities runs the parts of Minato that are connected in memory
// against a real API server, each as the user that it has in a cluster, and
// compares the rights of every identity with a golden list:
//
//	go test ./test/identities -update
package identities
