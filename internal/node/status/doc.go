// Package status computes what a Pod's status says from what the runtime has
// of it: container states, phase, conditions.
//
// It is pure: no clock, no API server, no runtime. The rules and texts are
// Kubernetes' own, so that controllers and people read what they are used to.
// It may import API types, node/observe, node/spec and upstream's small Pod helpers.
package status
