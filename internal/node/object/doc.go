// Package object fetches the ConfigMaps and Secrets that the Pods of a node
// refer to, and watches those that appear in volumes.
//
// A node may read only objects that its own Pods name, one by one, so there is
// no informer over a namespace: each watched object has a watch of its own, as
// long as some Pod holds it. A Pod never decides on a version that is older
// than the Pod itself: what it does not hold yet is read from the API server.
//
// It must not know what the objects are used for. It may import client-go.
package object
