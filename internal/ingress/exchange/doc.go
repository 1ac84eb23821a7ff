// Package exchange holds one HTTP request on its way through the ingress: what was received, the route that was found,
// what goes to the backend, and the answer. The proxy makes Exchanges and moves their bytes; filters read and change
// them at the Hooks, in the order in which ingress-nginx acts.
//
// The package does no I/O and starts nothing. It must not know connections, pools or filters; it may import the standard
// library, h1, table and regex.
package exchange
