package pod

import (
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/loglink"
	"minato/internal/node/observe"
)

// linkLog makes the link to the log of a container that was started. A container
// runs without one, as the kubelet has it.
func (w *worker) linkLog(pod *v1.Pod, config *runtimeapi.ContainerConfig, id string) {
	err := w.m.cfg.LogLinks.Add(loglink.Log{
		Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID),
		Container: config.GetMetadata().GetName(), ID: id, Restarts: config.GetMetadata().GetAttempt(),
	})
	if err != nil {
		w.m.cfg.Logger.Warn("log of a container is not linked", "pod", pod.Name, "error", err)
	}
}

// unlinkLogs removes the links to logs of containers that are removed.
func (w *worker) unlinkLogs(view *observe.Pod, containers ...observe.Container) {
	var logs []loglink.Log
	for i := range containers {
		c := &containers[i]
		logs = append(logs, loglink.Log{
			Namespace: view.Namespace, Pod: view.Name, UID: string(view.UID), Container: c.Name, ID: c.ID, Restarts: c.Attempt,
		})
	}
	if err := w.m.cfg.LogLinks.Remove(logs...); err != nil {
		w.m.cfg.Logger.Warn("links to logs are not removed", "pod", view.Name, "error", err)
	}
}
