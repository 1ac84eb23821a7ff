// Package volume makes the volumes of a node's Pods: emptyDir, configMap,
// secret, downwardAPI, projected and hostPath, claims to PersistentVolumes that are
// hostPath or local, and what a container mounts of them. What a claim holds is
// never removed here.
//
// Setting up is idempotent and is repeated when something behind a volume has
// changed; files then change all at once. Tearing down removes everything of a
// Pod, also what a run before this one has left. The package neither waits nor
// retries, and reports nothing: it returns errors that name the volume.
//
// A container can write to an emptyDir, and a privileged one to every volume of
// its Pod. So no path below a volume is followed by name: what is written goes
// through an os.Root, and what is mounted has been opened without leaving the
// volume.
//
// A local PersistentVolume that is a block device is mounted for each Pod that has it, and
// formatted before if nothing is on it, by the machine's programs.
//
// It may import client-go, the CRI messages, k8s.io/mount-utils, node/spec, node/csi, node/guard and host; mounting is
// done by an interface it is given.
package volume
