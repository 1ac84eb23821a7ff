package usage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"minato/internal/host"
	"minato/internal/node/spec"
)

// Runtime is the part of the CRI that is asked.
type Runtime interface {
	ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error)
	ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error)
	ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error)
}

// Cgroups tells which cgroups the runtime has made.
type Cgroups interface {
	ContainerCgroup(id string) (host.Cgroup, error)
	PodCgroup(uid string) host.Cgroup
}

// Config is what a Source needs.
type Config struct {
	Runtime Runtime
	// Cgroups is nil where the runtime doesn't tell; then the figures are those of
	// its statistics, and a Pod's are the sum of its containers'.
	Cgroups Cgroups
	// Others are Pods that are in no cgroup; nil is none.
	Others func() []Pod
	// Node is the cgroup that the Pods of the node are below.
	Node  host.Cgroup
	Clock clock.PassiveClock
}

// Source reads Snapshots.
type Source struct{ cfg Config }

// New returns a Source that has read nothing yet.
func New(cfg Config) *Source {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Source{cfg}
}

// Counted tells whether the figures come from cgroups.
func (s *Source) Counted() bool { return s.cfg.Cgroups != nil }

// Read takes a Snapshot. What ends while it is taken is left out.
func (s *Source) Read(ctx context.Context) (*Snapshot, error) {
	running, err := s.running(ctx)
	if err != nil {
		return nil, err
	}
	created, err := s.sandboxes(ctx)
	if err != nil {
		return nil, err
	}
	var measured map[string]Usage
	if s.cfg.Cgroups == nil {
		if measured, err = s.measured(ctx); err != nil {
			return nil, err
		}
	}
	out := &Snapshot{Node: s.node()}
	for _, c := range running {
		l := c.GetLabels()
		namespace, name, uid := l[spec.LabelPodNamespace], l[spec.LabelPodName], l[spec.LabelPodUID]
		if n := len(out.Pods); n == 0 || out.Pods[n-1].UID != uid {
			out.Pods = append(out.Pods, Pod{Namespace: namespace, Name: name, UID: uid, Created: created[uid]})
		}
		use, ok := s.container(c, measured)
		if !ok {
			continue
		}
		pod := &out.Pods[len(out.Pods)-1]
		pod.Containers = append(pod.Containers, Container{
			Name: l[spec.LabelContainerName], ID: c.GetId(), Image: imageOf(c.GetImage()), Created: time.Unix(0, c.GetCreatedAt()), Usage: use,
		})
	}
	out.Pods = slices.DeleteFunc(out.Pods, func(p Pod) bool { return len(p.Containers) == 0 })
	for i := range out.Pods {
		out.Pods[i].Usage = s.pod(&out.Pods[i])
	}
	if s.cfg.Others == nil {
		return out, nil
	}
	for _, p := range s.cfg.Others() {
		p.Usage = sum(&p)
		out.Pods = append(out.Pods, p)
	}
	slices.SortStableFunc(out.Pods, func(a, b Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

// running lists the containers that run, those of one Pod beside each other.
func (s *Source) running(ctx context.Context) ([]*runtimeapi.Container, error) {
	all, err := s.cfg.Runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	})
	if err != nil {
		return nil, fmt.Errorf("list the containers that run: %w", err)
	}
	slices.SortFunc(all, func(a, b *runtimeapi.Container) int {
		la, lb := a.GetLabels(), b.GetLabels()
		for _, key := range []string{spec.LabelPodNamespace, spec.LabelPodName, spec.LabelPodUID, spec.LabelContainerName} {
			if n := strings.Compare(la[key], lb[key]); n != 0 {
				return n
			}
		}
		return cmp.Compare(a.GetCreatedAt(), b.GetCreatedAt())
	})
	return all, nil
}

// imageOf is the image as the Pod names it, or else as the runtime does.
func imageOf(image *runtimeapi.ImageSpec) string {
	if name := image.GetUserSpecifiedImage(); name != "" {
		return name
	}
	return image.GetImage()
}

// sandboxes tells when those were made that are ready, by the Pod's uid.
func (s *Source) sandboxes(ctx context.Context) (map[string]time.Time, error) {
	all, err := s.cfg.Runtime.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{
		State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY},
	})
	if err != nil {
		return nil, fmt.Errorf("list the sandboxes that are ready: %w", err)
	}
	out := make(map[string]time.Time, len(all))
	for _, sb := range all {
		out[sb.GetMetadata().GetUid()] = time.Unix(0, sb.GetCreatedAt())
	}
	return out, nil
}

// container is what one container uses; false if it is gone.
func (s *Source) container(c *runtimeapi.Container, measured map[string]Usage) (Usage, bool) {
	if s.cfg.Cgroups == nil {
		u, ok := measured[c.GetId()]
		return u, ok
	}
	cg, err := s.cfg.Cgroups.ContainerCgroup(c.GetId())
	if err != nil {
		return Usage{}, false
	}
	u := s.of(cg)
	return u, u.CPU != nil || u.Memory != nil
}

// node is what the node uses. Where version 1 hierarchies count that, the OCI
// runtime makes its directories there with the first container: before, nothing
// has run on the node, and it has used nothing.
func (s *Source) node() Usage {
	u := s.of(s.cfg.Node)
	if u.CPU != nil {
		return u
	}
	if _, err := s.cfg.Node.CPU(); errors.Is(err, fs.ErrNotExist) {
		u.CPU, u.Memory = &host.CPUUsage{}, &host.MemoryUsage{}
	}
	return u
}

// of reads a cgroup. What can't be read is absent.
func (s *Source) of(cg host.Cgroup) Usage {
	u := Usage{At: s.cfg.Clock.Now(), Cgroup: cg}
	if cpu, err := cg.CPU(); err == nil {
		u.CPU = &cpu
	} else if errors.Is(err, fs.ErrNotExist) {
		return u // a cgroup that is gone has no memory either
	}
	if memory, err := cg.Memory(); err == nil {
		u.Memory = &memory
	}
	return u
}

// pod is what a Pod uses: with the cgroups known that of its own, which counts
// what its containers that have ended used as well.
func (s *Source) pod(p *Pod) Usage {
	if s.cfg.Cgroups != nil {
		return s.of(s.cfg.Cgroups.PodCgroup(p.UID))
	}
	return sum(p)
}

// sum is what the containers of a Pod use together.
func sum(p *Pod) Usage {
	u := Usage{At: p.Containers[0].At}
	for _, c := range p.Containers {
		if c.CPU != nil {
			if u.CPU == nil {
				u.CPU = &host.CPUUsage{}
			}
			u.CPU.Total += c.CPU.Total
		}
		if c.Memory != nil {
			if u.Memory == nil {
				u.Memory = &host.MemoryUsage{}
			}
			u.Memory.Usage += c.Memory.Usage
			u.Memory.WorkingSet += c.Memory.WorkingSet
			u.Memory.RSS += c.Memory.RSS
		}
	}
	return u
}

// measured is what the runtime's statistics say, by container.
func (s *Source) measured(ctx context.Context) (map[string]Usage, error) {
	all, err := s.cfg.Runtime.ListContainerStats(ctx, &runtimeapi.ContainerStatsFilter{})
	if err != nil {
		return nil, fmt.Errorf("ask the container runtime for statistics: %w", err)
	}
	out := make(map[string]Usage, len(all))
	for _, st := range all {
		u := Usage{At: s.cfg.Clock.Now()}
		if at := st.GetCpu().GetTimestamp(); at != 0 {
			u.At = time.Unix(0, at)
		}
		if v := st.GetCpu().GetUsageCoreNanoSeconds(); v != nil {
			u.CPU = &host.CPUUsage{Total: time.Duration(v.Value)}
		}
		if m := st.GetMemory(); m.GetWorkingSetBytes() != nil {
			u.Memory = &host.MemoryUsage{
				Usage: m.GetUsageBytes().GetValue(), WorkingSet: m.GetWorkingSetBytes().GetValue(), RSS: m.GetRssBytes().GetValue(),
				PageFaults: m.GetPageFaults().GetValue(), MajorPageFaults: m.GetMajorPageFaults().GetValue(),
			}
		}
		out[st.GetAttributes().GetId()] = u
	}
	return out, nil
}
