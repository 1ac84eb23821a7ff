// Package evict decides when a node runs out of something, and which Pod has to
// leave it first: by the kubelet's thresholds, order and words (its package
// eviction). What is left and what Pods use goes in; conditions, the resource to
// win back, and the Pods in the order in which they leave, each with its reason,
// come out.
//
// It is pure: it measures nothing, reads no clock and ends no Pod. It may import
// API types and the pure helpers for them.
package evict
