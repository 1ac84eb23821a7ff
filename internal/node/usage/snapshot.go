package usage

import (
	"time"

	"minato/internal/host"
)

// Snapshot is what a node uses at one time. Pods are sorted by namespace and
// name, containers by name.
type Snapshot struct {
	Node Usage
	Pods []Pod
}

// Usage is what one cgroup uses, with those below it. CPU or Memory are nil
// where nobody counts it.
type Usage struct {
	At     time.Time
	CPU    *host.CPUUsage
	Memory *host.MemoryUsage
	// Cgroup is the cgroup itself, to read more from it; without a path where the
	// container runtime doesn't tell which it is.
	Cgroup host.Cgroup
}

// Pod is a Pod of which a container runs.
type Pod struct {
	Namespace, Name, UID string
	// Created is when the Pod's sandbox was made.
	Created time.Time
	Usage
	Containers []Container
}

// Container is a container that runs.
type Container struct {
	Name, ID, Image string
	// Created is when the container was made; a container that is started again is
	// another one.
	Created time.Time
	Usage
}
