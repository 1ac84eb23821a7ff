// Package controllers runs Kubernetes' own controllers and scheduler inside
// this process: every loop that kube-controller-manager runs by default and
// that needs no cloud, each with its own identity and so with upstream's RBAC
// for it, and the scheduler with its default profile. There is no leader
// election and no port.
//
// The package must not know how the API server is made. It may import
// k8s.io/kubernetes and its staging modules.
package controllers
