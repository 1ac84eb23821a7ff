// Package stock starts a control plane that is not Minato's, for tests and benchmarks of the parts that work in any
// cluster: etcd, and upstream's own kube-apiserver and kube-controller-manager as processes, built from the module
// that go.mod names.
//
// It listens on the loopback interface and on a unix socket only, has no nodes but those that Node makes, and runs no
// containers. It may import anything that tests may.
package stock
