// Package dra has the drivers of dynamic resources of a node (resource.k8s.io, KEP-4381)
// prepare the ResourceClaims of Pods before a Pod's sandbox is made, and undo that when
// the Pod has ended, as the kubelet's DRA manager does
// (k8s.io/kubelet/pkg/apis/dra). What was allocated to whom is the scheduler's matter:
// the package looks claims up afresh and checks that they are the Pod's. How the devices
// are is what their drivers say (k8s.io/kubelet/pkg/apis/dra-health, KEP-4680), and is
// kept in memory only: after a start of the agent nobody has said anything yet.
//
// What has been begun for a claim is recorded before a driver is asked, in a file that
// no Pod sees: so it is undone after a kill of the server too. ResourceSlices of drivers
// that the node does not have are removed, so that no Pod is sent for their devices.
package dra
