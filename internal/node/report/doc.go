// Package report writes the statuses of a node's Pods to the API server and
// deletes the Pods that have ended.
//
// For each Pod only the newest status counts: what is superseded while a
// request is under way is never sent, and one that nobody acts on waits for a
// moment in case another one follows. Conditions of others are left alone. The
// package computes nothing; it may import client-go and node/status.
package report
