package node

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// picky makes what it is told to: what begins with "no" fails.
type picky struct{ cri.RuntimeService }

func answer(name string) error {
	if strings.HasPrefix(name, "no") {
		return errors.New("no such thing")
	}
	return nil
}

func (picky) RunPodSandbox(_ context.Context, c *runtimeapi.PodSandboxConfig, _ string) (string, error) {
	return c.Metadata.Name, answer(c.Metadata.Name)
}
func (picky) RemovePodSandbox(context.Context, string) error { return nil }
func (picky) CreateContainer(_ context.Context, sandbox string, c *runtimeapi.ContainerConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	return sandbox + "/" + c.Metadata.Name, answer(c.Metadata.Name)
}
func (picky) StartContainer(_ context.Context, id string) error {
	return answer(id[strings.IndexByte(id, '/')+1+len("start-"):])
}

func TestUserNamespacedPodsAreCounted(t *testing.T) {
	o := newOperations()
	r := countedRuntime{picky{}, o}
	sandbox := func(name string, mode runtimeapi.NamespaceMode) {
		_, _ = r.RunPodSandbox(t.Context(), &runtimeapi.PodSandboxConfig{
			Metadata: &runtimeapi.PodSandboxMetadata{Name: name},
			Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: mode}},
			}},
		}, "")
	}
	run := func(sandbox, name string) {
		if id, err := r.CreateContainer(t.Context(), sandbox, &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: name}}, nil); err == nil {
			_ = r.StartContainer(t.Context(), id)
		}
	}
	sandbox("none", runtimeapi.NamespaceMode_POD) // fails
	sandbox("plain", runtimeapi.NamespaceMode_NODE)
	run("plain", "no-image")
	sandbox("good", runtimeapi.NamespaceMode_POD)
	run("good", "start-well")
	sandbox("bad", runtimeapi.NamespaceMode_POD)
	run("bad", "start-no")
	run("bad", "no-image") // of the same Pod
	sandbox("gone", runtimeapi.NamespaceMode_POD)
	if err := r.RemovePodSandbox(t.Context(), "gone"); err != nil {
		t.Error(err)
	}
	run("gone", "no-image")
	if started, failed := testutil.ToFloat64(o.userns.started), testutil.ToFloat64(o.userns.failed); started != 4 || failed != 2 {
		t.Errorf("%v started and %v failed, want 4 and 2", started, failed)
	}
	if n := testutil.CollectAndCount(o, "kubelet_started_user_namespaced_pods_total", "kubelet_started_user_namespaced_pods_errors_total"); n != 2 {
		t.Errorf("%d of the 2 counters are served", n)
	}
	if left := len(o.userns.containers); left != 0 || len(o.userns.sandboxes) != 2 {
		t.Errorf("it keeps %d containers and the sandboxes %v", left, o.userns.sandboxes)
	}
}
