package pod

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"minato/internal/node/observe"
	"minato/internal/node/status"
)

// refuse tells whether the node cannot take a Pod that it sees for the first
// time. One that already has a sandbox was taken by an earlier run.
func (w *worker) refuse(pod *v1.Pod, view *observe.Pod) bool {
	if w.verdict != nil {
		return true
	}
	if w.admitted || view.Sandbox() != nil || len(pod.Status.ContainerStatuses) > 0 {
		w.admitted = true
		return false
	}
	reason := ""
	switch {
	case !w.fitsNode(pod):
		reason = "NodeAffinity"
	case !w.portsFree(pod):
		reason = "NodePorts"
	default:
		w.admitted = true
		return false
	}
	w.verdict = &status.Verdict{Reason: reason, Message: "Pod was rejected: Predicate " + reason + " failed"}
	w.event(pod, v1.EventTypeWarning, reason, "Predicate "+reason+" failed")
	return true
}

// fitsNode checks node selector and affinity: the scheduler has done so, but a
// Pod may have been put on the node by hand.
func (w *worker) fitsNode(pod *v1.Pod) bool {
	if len(pod.Spec.NodeSelector) == 0 && pod.Spec.Affinity == nil {
		return true
	}
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.m.cfg.NodeName, Labels: w.m.cfg.NodeLabels()}}
	ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	return ok && err == nil
}

type hostPort struct {
	ip       string
	protocol v1.Protocol
	port     int32
}

func (w *worker) portsFree(pod *v1.Pod) bool {
	wanted := hostPorts(pod)
	if len(wanted) == 0 {
		return true
	}
	for _, other := range w.m.others(w.uid) {
		for _, taken := range hostPorts(other) {
			for _, p := range wanted {
				same := p.port == taken.port && p.protocol == taken.protocol
				if same && (p.ip == taken.ip || p.ip == "" || taken.ip == "") {
					return false
				}
			}
		}
	}
	return true
}

func hostPorts(pod *v1.Pod) []hostPort {
	var out []hostPort
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			h := hostPort{ip: p.HostIP, protocol: p.Protocol, port: p.HostPort}
			if h.ip == "0.0.0.0" || h.ip == "::" {
				h.ip = ""
			}
			if h.protocol == "" {
				h.protocol = v1.ProtocolTCP
			}
			out = append(out, h)
		}
	}
	return out
}

// deadline is when the Pod's activeDeadlineSeconds are over, zero for never.
func (w *worker) deadline(pod *v1.Pod) time.Time {
	if pod.Spec.ActiveDeadlineSeconds == nil {
		return time.Time{}
	}
	st, _ := w.lastStatus()
	start := pod.Status.StartTime
	if start == nil {
		start = st.StartTime
	}
	if start == nil {
		return w.m.cfg.Clock.Now().Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
	}
	return start.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

func (w *worker) expired(pod *v1.Pod) bool {
	at := w.deadline(pod)
	if at.IsZero() || w.m.cfg.Clock.Now().Before(at) {
		return false
	}
	const message = "Pod was active on the node longer than the specified deadline"
	w.verdict = &status.Verdict{Reason: "DeadlineExceeded", Message: message}
	w.event(pod, v1.EventTypeNormal, "DeadlineExceeded", message)
	return true
}
