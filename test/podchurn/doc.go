// Package podchurn makes and ends many Pods in waves on a real cluster, kills the
// server in the middle of some of them, and compares what the machine has of the
// cluster before and after: memory, open files, files, cgroups, mounts,
// namespaces and processes. `make test-churn-pods` runs it. It does the same with nodes
// that are added and removed, and with clusters that are made and deleted
// (`make test-churn-nodes`), and with writes while the server is killed.
package podchurn
