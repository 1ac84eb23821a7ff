package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Annotations of mirror Pods and of the Pods that they stand for, which are the
// kubelet's (pkg/kubelet/types).
const (
	AnnotationMirror = v1.MirrorPodAnnotationKey
	AnnotationHash   = "kubernetes.io/config.hash"
	AnnotationSource = "kubernetes.io/config.source"
)

// sourcePart is the source of what is no file.
const sourcePart = "minato"

// Is tells whether a Pod is a mirror Pod.
func Is(pod *v1.Pod) bool {
	_, ok := pod.Annotations[AnnotationMirror]
	return ok
}

// podOf is the Pod that a part is shown as, without its status.
func podOf(p Part, node string) *v1.Pod {
	// Nothing has to be waited for: the part goes on without its Pod.
	zero := int64(0)
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceSystem, Name: p.Name + "-" + node, Labels: p.Labels,
			Annotations: map[string]string{AnnotationSource: sourcePart},
		},
		Spec: v1.PodSpec{
			NodeName: node, HostNetwork: true, PriorityClassName: "system-node-critical",
			RestartPolicy: v1.RestartPolicyAlways, TerminationGracePeriodSeconds: &zero, EnableServiceLinks: new(bool),
			Tolerations: []v1.Toleration{{Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute}},
			Containers: []v1.Container{{
				Name: p.Name, Image: p.Image, Command: p.Command, ImagePullPolicy: v1.PullIfNotPresent,
			}},
			AutomountServiceAccountToken: new(bool),
		},
	}
	pod.Annotations[AnnotationHash] = hashOf(pod)
	return pod
}

// hashOf changes with what a Pod says.
func hashOf(pod *v1.Pod) string {
	text, err := json.Marshal(struct {
		Labels map[string]string
		Spec   v1.PodSpec
	}{pod.Labels, pod.Spec})
	if err != nil {
		return "" // the API's types have no value that can't be written
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// mirrorOf is the mirror Pod of a Pod on the node with that UID.
func mirrorOf(pod *v1.Pod, node types.UID) *v1.Pod {
	yes := true
	m := pod.DeepCopy()
	m.UID, m.ResourceVersion = "", ""
	m.Annotations[AnnotationMirror] = m.Annotations[AnnotationHash]
	m.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "Node", Name: pod.Spec.NodeName, UID: node, Controller: &yes,
	}}
	m.Status = v1.PodStatus{}
	return m
}

// owner is the UID of the Node that a mirror Pod belongs to.
func owner(m *v1.Pod) types.UID {
	if o := metav1.GetControllerOf(m); o != nil && o.Kind == "Node" {
		return o.UID
	}
	return ""
}

// run names one run of a part: the process that it is in, and its number there.
type run struct {
	process string
	number  int
}

const runScheme = "minato://"

func (r run) String() string { return fmt.Sprintf("%s%s-%d", runScheme, r.process, r.number) }

func parseRun(id string) (run, bool) {
	process, number, ok := cutLast(strings.TrimPrefix(id, runScheme), "-")
	n, err := strconv.Atoi(number)
	return run{process, n}, ok && err == nil && strings.HasPrefix(id, runScheme)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// facts is what the status of a part's Pod is made from.
type facts struct {
	part    Part
	state   State
	process string // of the part
	hostIPs []string
	// last is how the part's container was when it was looked at last, maybe by an
	// earlier process; nil if nobody ever did.
	last *v1.ContainerStatus
	old  v1.PodStatus // for the times of conditions
	now  time.Time
}

// statusOf is the status of a part's Pod.
func statusOf(f facts) v1.PodStatus {
	first := at(f.state.First)
	s := v1.PodStatus{Phase: v1.PodRunning, QOSClass: v1.PodQOSBestEffort, StartTime: &first, ObservedGeneration: f.old.ObservedGeneration}
	for _, ip := range f.hostIPs {
		s.HostIPs = append(s.HostIPs, v1.HostIP{IP: ip})
		s.PodIPs = append(s.PodIPs, v1.PodIP{IP: ip})
	}
	if len(f.hostIPs) > 0 {
		s.HostIP, s.PodIP = f.hostIPs[0], f.hostIPs[0]
	}
	c := containerOf(f)
	s.ContainerStatuses = []v1.ContainerStatus{c}
	condition := func(t v1.PodConditionType, ok bool, reason, message string) {
		n := v1.PodCondition{Type: t, Status: v1.ConditionTrue, LastTransitionTime: at(f.now), ObservedGeneration: f.old.ObservedGeneration}
		if !ok {
			n.Status, n.Reason, n.Message = v1.ConditionFalse, reason, message
		}
		for _, o := range f.old.Conditions {
			if o.Type == t && o.Status == n.Status {
				n.LastTransitionTime = o.LastTransitionTime
			}
		}
		s.Conditions = append(s.Conditions, n)
	}
	why := fmt.Sprintf("containers with unready status: [%s]", c.Name)
	if f.state.Message != "" {
		why += ": " + f.state.Message
	}
	condition(v1.PodReadyToStartContainers, true, "", "")
	condition(v1.PodInitialized, true, "", "")
	condition(v1.PodReady, c.Ready, "ContainersNotReady", why)
	condition(v1.ContainersReady, c.Ready, "ContainersNotReady", why)
	condition(v1.PodScheduled, true, "", "")
	return s
}

func at(t time.Time) metav1.Time { return metav1.NewTime(t).Rfc3339Copy() }

// containerOf counts on where an earlier look at the part ended.
func containerOf(f facts) v1.ContainerStatus {
	now := run{f.process, f.state.Restarts}
	started := !f.state.Failed
	c := v1.ContainerStatus{
		Name: f.part.Name, Image: f.part.Image, ContainerID: now.String(), Started: &started,
		Ready: f.state.Ready && started, RestartCount: int32(f.state.Restarts),
	}
	since := at(f.state.Since)
	c.State.Running = &v1.ContainerStateRunning{StartedAt: since}
	if f.state.Failed {
		c.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: f.state.Error}}
	}
	if f.last == nil {
		return c
	}
	c.LastTerminationState = f.last.LastTerminationState
	before, known := parseRun(f.last.ContainerID)
	switch {
	case known && before == now:
		c.RestartCount = f.last.RestartCount
		if f.state.Failed && f.last.State.Running != nil {
			c.LastTerminationState.Terminated = ended(f.last, f.state.Since, 1, "Error", f.state.Error)
		}
		return c
	case known && before.process == now.process && now.number > before.number:
		c.RestartCount = f.last.RestartCount + int32(now.number-before.number)
	case known && before.process == now.process:
		c.RestartCount = f.last.RestartCount + 1 // the whole node was made anew
	default:
		c.RestartCount = f.last.RestartCount + 1 + int32(f.state.Restarts)
		// Nobody saw how the earlier process ended.
		c.LastTerminationState.Terminated = ended(f.last, f.state.First, 255, "Unknown", "the process that the part was in has ended")
		return c
	}
	if f.last.State.Running != nil {
		code, reason := int32(0), "Completed"
		if f.state.Error != "" {
			code, reason = 1, "Error"
		}
		c.LastTerminationState.Terminated = ended(f.last, f.state.Since, code, reason, f.state.Error)
	}
	return c
}

func ended(last *v1.ContainerStatus, when time.Time, code int32, reason, message string) *v1.ContainerStateTerminated {
	t := &v1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message, FinishedAt: at(when), ContainerID: last.ContainerID}
	if r := last.State.Running; r != nil {
		t.StartedAt = r.StartedAt
	}
	return t
}
