package observe

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Pod is what the runtime has of one Pod at one moment.
type Pod struct {
	UID             types.UID
	Namespace, Name string
	// Sandboxes and Containers are sorted by their attempts, the last one first, and
	// those of one attempt by whether they have run, and by age.
	Sandboxes  []Sandbox
	Containers []Container
}

// Sandbox is the environment that the containers of a Pod share.
type Sandbox struct {
	ID          string
	Attempt     uint32
	Ready       bool
	HostNetwork bool
	CreatedAt   time.Time
	IPs         []string
	Annotations map[string]string
}

// Container is one run of a container of the Pod.
type Container struct {
	ID, Name, SandboxID              string
	Attempt                          uint32
	State                            runtimeapi.ContainerState
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int32
	Reason, Message                  string
	Image, ImageRef                  string
	LogPath                          string
	Annotations                      map[string]string
	User                             *runtimeapi.ContainerUser
	// Resources are the limits that it has now, nil if that is not known.
	Resources *runtimeapi.LinuxContainerResources
}

// Running tells whether the container's process runs.
func (c *Container) Running() bool {
	return c != nil && c.State == runtimeapi.ContainerState_CONTAINER_RUNNING
}

// Exited tells whether the container's process has ended.
func (c *Container) Exited() bool {
	return c != nil && c.State == runtimeapi.ContainerState_CONTAINER_EXITED
}

// Latest returns the newest run of the named container, nil if there is none.
func (p *Pod) Latest(name string) *Container { return p.nth(name, 0) }

// Previous returns the run before the newest, nil if there is none.
func (p *Pod) Previous(name string) *Container { return p.nth(name, 1) }

func (p *Pod) nth(name string, n int) *Container {
	if p == nil {
		return nil
	}
	for i := range p.Containers {
		if p.Containers[i].Name != name {
			continue
		}
		if n == 0 {
			return &p.Containers[i]
		}
		n--
	}
	return nil
}

// Sandbox returns the newest sandbox, nil if the Pod has none.
func (p *Pod) Sandbox() *Sandbox {
	if p == nil || len(p.Sandboxes) == 0 {
		return nil
	}
	return &p.Sandboxes[0]
}

// IPs are the addresses of the newest sandbox.
func (p *Pod) IPs() []string {
	if s := p.Sandbox(); s != nil {
		return s.IPs
	}
	return nil
}

// Running lists the containers whose process runs.
func (p *Pod) Running() []*Container {
	var out []*Container
	for i := range p.Containers {
		if p.Containers[i].Running() {
			out = append(out, &p.Containers[i])
		}
	}
	return out
}

func (p *Pod) sort() {
	// Attempts are counted. The time decides only where they are equal: a clock that
	// was set back makes a later run look older than the one before.
	slices.SortStableFunc(p.Sandboxes, func(a, b Sandbox) int {
		return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), b.CreatedAt.Compare(a.CreatedAt))
	})
	slices.SortStableFunc(p.Containers, func(a, b Container) int {
		return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), cmp.Compare(b.ran(), a.ran()), b.CreatedAt.Compare(a.CreatedAt))
	})
}

// ran is 1 for a container that has run. Of one attempt, that is the last one: what was
// half made and never ran is no run, and its attempt was made again.
func (c *Container) ran() int {
	if c.Running() || c.Exited() {
		return 1
	}
	return 0
}
