// Package pod runs the Pods of a node: one worker for each, which brings the
// container runtime to what the API asks for and says what came of it.
//
// A worker makes a step each time something happened (the Pod changed, a
// container exited, a probe's verdict turned, a pause is over): it reads what the
// runtime has of the Pod, decides with the pure functions admit.Check and
// MakePlan, acts, and reports. Lifecycle says how far the Pod has come. A worker
// keeps nothing that a restarted agent would miss, and a panic in its work is an
// error of its Pod alone. It must not talk to the API server: Pods come in
// through Update and Delete, go out through a Reporter, and what else has to be
// asked is asked by functions in Config.
//
// It may import the other packages of node, the CRI and upstream's Pod helpers.
package pod
