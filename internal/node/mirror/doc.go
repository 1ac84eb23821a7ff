// Package mirror shows at the API server, as mirror Pods, what runs on a node without
// having come from there: parts of the cluster itself, and static Pods.
//
// Mirror Pods say what is; they are asked for nothing. One that is deleted comes
// back, and a part whose mirror Pod somebody deletes is started again. A mirror Pod
// that stands for nothing is deleted. Nothing is written while nothing changes.
//
// The package starts no container. It may import client-go, package report's
// interface is its own, and it knows nothing of what the parts do.
package mirror
