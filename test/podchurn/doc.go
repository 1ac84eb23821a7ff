// Package podchurn makes and ends many Pods in waves on a real cluster, kills the
// server in the middle of some of them, and compares what the machine has of the
// cluster before and after: memory, open files, files, cgroups, mounts,
// namespaces and processes. `make test-churn-pods` runs it.
package podchurn
