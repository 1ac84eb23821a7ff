// Package observe reads what the container runtime knows about Pods.
//
// It turns the answers of the CRI into one small snapshot per Pod, newest
// sandbox and newest container first. Read asks the runtime for everything;
// Cache keeps what was read until an event of the runtime or an action of the
// node agent says that it has changed, so that a look at one Pod costs the same
// however many others there are. Neither changes anything in the runtime, and a
// new Cache holds nothing: an agent that has just restarted sees its running
// Pods exactly as one that has not.
//
// It may import the CRI API and the names in node/spec.
package observe
