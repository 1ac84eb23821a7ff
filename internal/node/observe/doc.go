// Package observe reads what the container runtime knows about Pods.
//
// It turns the answers of the CRI into one small snapshot per Pod, newest
// sandbox and newest container first. It must not change anything in the
// runtime and keeps nothing between two reads, so that an agent that has just
// restarted sees its running Pods exactly as one that has not.
//
// It may import the CRI API and the names in node/spec.
package observe
