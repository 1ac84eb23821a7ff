// Package pki keeps the keys and certificates of one cluster in one directory:
// the cluster CA, the front-proxy CA, everything they sign for the control
// plane, the nodes and the administrator, and the key that signs ServiceAccount
// tokens.
//
// What exists is loaded, so a cluster keeps its identity over restarts; a
// certificate that is missing, about to expire or no longer fitting (another
// address, another CA) is issued anew. Every file appears whole or not at all.
//
// The package must not talk to the API server or open sockets. It may import
// the standard library and client-go's kubeconfig types.
package pki
