package pod

import (
	"errors"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

func mountsImage(reference string, policy v1.PullPolicy) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, v1.Volume{Name: "files", VolumeSource: v1.VolumeSource{Image: &v1.ImageVolumeSource{Reference: reference, PullPolicy: policy}}})
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "files", MountPath: "/files"}}
	}
}

func TestImageVolumeIsPulledAndMounted(t *testing.T) {
	b := newBench(t)
	b.manager.Update(newPod("web", mountsImage("example.com/data:1", v1.PullIfNotPresent)))
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	if pulls, _ := b.images.Pulls(); len(pulls) != 1 || pulls[0] != "example.com/data:1" {
		t.Errorf("pulls = %q", pulls)
	}
	mounted := ""
	for _, m := range b.runtime.Config("main").Mounts {
		if m.ContainerPath == "/files" {
			mounted = m.Image.GetImage()
		}
	}
	if mounted != "example.com/data:1" {
		t.Errorf("mounted image %q", mounted)
	}
	if !b.events.has(`Pulling Pulling image "example.com/data:1"`)() {
		t.Errorf("events = %q", b.events.all())
	}
}

func TestImageVolumeKeepsItsContainerWaiting(t *testing.T) {
	b := newBench(t)
	b.images.FailPulls(errors.New("the registry is away"))
	p := newPod("web", mountsImage("example.com/data:1", v1.PullAlways))
	other := p.Spec.Containers[0].DeepCopy()
	other.Name, other.VolumeMounts = "other", nil
	p.Spec.Containers = append(p.Spec.Containers, *other)
	b.manager.Update(p)
	b.eventually("it waits", b.waitingFor("web", reasonPull))
	b.eventually("the other container runs", b.called("StartContainer other"))
	if b.called("StartContainer main")() {
		t.Error("the container runs without its volume")
	}
	if !b.events.has(`Failed Failed to pull image "example.com/data:1": `)() || !b.events.has("Failed Error: ")() {
		t.Errorf("events = %q", b.events.all())
	}
	b.images.FailPulls(nil)
	b.stepUntil("it runs", time.Minute, b.called("StartContainer main"))

	b.manager.Update(newPod("never", mountsImage("example.com/none:1", v1.PullNever)))
	b.eventually("it waits", b.waitingFor("never", reasonNeverPull))
	for _, e := range b.events.all() {
		if strings.HasPrefix(e, reasonNeverPull) && !strings.Contains(e, "example.com/none:1") {
			t.Errorf("event %q", e)
		}
	}
}
