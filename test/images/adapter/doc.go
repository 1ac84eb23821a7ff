// Package adapter names, in go.mod as a tool, the adapter for custom metrics that the
// scripts run in a Pod: that of kubernetes-sigs/custom-metrics-apiserver. It is a
// module of its own, so that it is no dependency of Minato. It does nothing.
package adapter
