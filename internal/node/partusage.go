package node

import (
	"time"

	v1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/internal/node/mirror"
	measure "minato/internal/node/usage"
)

// partUsage is what the parts use that are shown as Pods, whose UID is what the
// kubelet takes for a static Pod's. Those that can't tell are left out.
func (a *Agent) partUsage() []measure.Pod {
	var out []measure.Pod
	a.mirrors.Parts(func(pod *v1.Pod, part mirror.Part) {
		if part.Use == nil {
			return
		}
		use, err := part.Use()
		if err != nil {
			a.cfg.Logger.Warn("what a part uses is not known", "part", part.Name, "error", err)
			return
		}
		began, memory := part.State().Since, uint64(max(0, use.Memory))
		uid := pod.Annotations[mirror.AnnotationHash]
		out = append(out, measure.Pod{
			Namespace: pod.Namespace, Name: pod.Name, UID: uid, Created: began,
			Containers: []measure.Container{{
				Name: part.Name, ID: part.Name + "-" + uid, Image: part.Image, Created: began,
				Usage: measure.Usage{
					At:     time.Now(),
					CPU:    &host.CPUUsage{Total: use.CPU},
					Memory: &host.MemoryUsage{Usage: memory, RSS: memory, WorkingSet: memory},
				},
			}},
		})
	})
	return out
}
