// Package pod runs the Pods of a node: one worker for each, which brings the
// container runtime to what the API asks for and says what came of it.
//
// A worker looks at the runtime afresh each time something happened (the Pod
// changed, a container exited, a probe's verdict turned, a pause is over),
// decides with the pure function MakePlan, acts, and reports. It keeps nothing
// that a restarted agent would miss. It must not talk to the API server: Pods
// come in through Update and Delete, and go out through a Reporter.
//
// It may import the other packages of node, the CRI and upstream's Pod helpers.
package pod
