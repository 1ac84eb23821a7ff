// Package supervise runs named parts side by side. A part that fails is started
// again after a back-off, while the others go on; what each part is doing can be
// read at any time.
//
// It does not know what the parts do, and does not recover panics: a panic in a
// part ends the process, whose own supervisor starts it again. It may import the
// standard library and the clock interfaces of k8s.io/utils.
package supervise
