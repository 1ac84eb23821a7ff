package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/test/lab"
)

// The manifest as it stands, but for the address that its first lines say to replace: a container runtime makes the
// container, which gets ready, is killed and comes back, and goes; Services are served throughout. Another one cleans up.
func (w *world) testDaemonSet(t *testing.T) {
	n := w.two
	n.running.End(syscall.SIGTERM)
	if code, out := n.once("proxy", "--cleanup", "--bpf-dir", n.bpfDir()); code != 0 {
		t.Fatalf("clean up: %s", out)
	}
	w.publishCA()
	web, err := w.Client.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	clients := n.cgroup.Child("clients")
	if err := clients.Create(); err != nil {
		t.Fatal(err)
	}
	process := sockets(t, w.q2, clients.V2())
	serves := func(when string) {
		t.Helper()
		for _, f := range lab.Families {
			w.reached(when, process, "tcp", f.VIP(web), "p1", "p2")
			w.reached(when, packets(w.q2), "udp", f.VIP(web), "p1", "p2")
			w.reached(when, packets(w.lan), "tcp", f.At(n2IP, 30080), "p1", "p2")
		}
	}
	a := n.startAgent([]netip.Addr{lab.IPv4.Addr(n2IP), lab.IPv6.Addr(n2IP)}, w.cluster.Kubeconfig())
	pod := w.pod(n, "proxy", w.daemons.Spec.Template)
	w.becomes(pod, "ready", func(s corev1.PodStatus) bool { return ready(s) && s.ContainerStatuses[0].RestartCount == 0 })
	// Nothing was there to be taken over, so what clients began meanwhile may have to begin anew.
	w.settled("the first container", process, "tcp", vip(web), answeredBy("p1", "p2"))
	serves("the first container")

	syscall.Kill(n.theOne(t, "minato"), syscall.SIGKILL)
	serves("its container killed")
	w.becomes(pod, "ready again", func(s corev1.PodStatus) bool { return ready(s) && s.ContainerStatuses[0].RestartCount == 1 })
	serves("the second container")
	w.remove(pod)
	serves("without a Pod")

	template := w.daemons.Spec.Template.DeepCopy()
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	template.Spec.Containers[0].Args = []string{"proxy", "--cleanup"}
	template.Spec.Containers[0].LivenessProbe, template.Spec.Containers[0].ReadinessProbe = nil, nil
	cleaner := w.pod(n, "cleanup", *template)
	w.becomes(cleaner, "done", func(s corev1.PodStatus) bool { return s.Phase == corev1.PodSucceeded })
	w.remove(cleaner)
	for _, pattern := range []string{"/sys/fs/bpf/minato*", "/run/minato/*"} {
		if left, err := filepath.Glob(a.sees(pattern)); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	a.end()
	w.sameAsBefore(n, "the container's cleanup")
	n.start()
	n.waitHealthy()
}

// publishCA does what a controller does, for Pods to have the API server's certificate.
func (w *world) publishCA() {
	w.Helper()
	ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": string(w.cluster.CABundle())}}
	if _, err := w.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Create(w.Context(), ca, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

// pod makes a Pod on the node, as the DaemonSet's controller and the scheduler would.
func (w *world) pod(n *node, name string, template corev1.PodTemplateSpec) *corev1.Pod {
	w.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.daemons.Namespace, Labels: template.Labels}, Spec: *template.Spec.DeepCopy()}
	p.Spec.NodeName = n.name
	for i, arg := range p.Spec.Containers[0].Args {
		p.Spec.Containers[0].Args[i] = strings.ReplaceAll(arg, "CONTROL-PLANE:6443", w.cluster.Address())
	}
	p, err := w.Client.CoreV1().Pods(p.Namespace).Create(w.Context(), p, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// becomes waits for a Pod's status.
func (w *world) becomes(p *corev1.Pod, what string, is func(corev1.PodStatus) bool) {
	w.Helper()
	lab.Eventually(w.T, "Pod "+p.Name+" is "+what, func() error {
		now, err := w.Client.CoreV1().Pods(p.Namespace).Get(w.Context(), p.Name, metav1.GetOptions{})
		if err == nil && (len(now.Status.ContainerStatuses) == 0 || !is(now.Status)) {
			err = fmt.Errorf("%+v", now.Status)
		}
		return err
	})
}

func ready(s corev1.PodStatus) bool {
	for _, c := range s.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// remove deletes a Pod and returns when it has ended.
func (w *world) remove(p *corev1.Pod) {
	w.Helper()
	ctx, pods := context.WithoutCancel(w.Context()), w.Client.CoreV1().Pods(p.Namespace)
	if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
	lab.Eventually(w.T, "Pod "+p.Name+" is gone", func() error {
		if _, err := pods.Get(ctx, p.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
}
