// Package csi makes the volumes of CSI drivers on a node, as the kubelet does: it
// takes drivers that register, tells the CSINode and the Node what they said of
// themselves, waits until a volume is attached, and has the driver stage, publish,
// expand, unpublish and unstage it (the Container Storage Interface 1.x, and the
// fields of CSIDriver and PersistentVolume).
//
// Paths are the kubelet's, since drivers mount them. What was begun is noted in
// vol_data.json beside it before the driver is called, so a later agent ends it. A call
// has a bound of time, and no call keeps another volume waiting.
//
// A driver is not trusted beyond its volumes: what it wrote is never followed out of
// the agent's directory. The package may import client-go, gRPC, node/plugins,
// node/guard and host.
package csi
