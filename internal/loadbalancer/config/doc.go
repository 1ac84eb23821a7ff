// Package config is the configuration of load balancing: what MetalLB's objects, or its ConfigMap of versions 0.7 to
// 0.12, say, as one checked model. It takes objects and returns the model together with the problems that it found; it
// does no I/O, reads no clock and knows no client.
package config
