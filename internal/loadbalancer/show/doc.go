// Package show describes Services of type LoadBalancer, as text for people and as JSON for programs: the address and
// why it is that one, the node that announces it and who would be next, which nodes get flows, and what each BGP peer is
// told.
//
// It is pure: it arranges what packages pool and elect decide, and must decide nothing. It may import those two and
// config.
package show
