package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"minato/internal/node/fakecri"
	"minato/internal/node/static"
)

// withUIDs gives Pods UIDs, as an API server does.
func withUIDs(client *fake.Clientset) *fake.Clientset {
	var last atomic.Int32
	client.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if p := a.(clienttesting.CreateAction).GetObject().(*v1.Pod); p.UID == "" {
			p.UID = types.UID(fmt.Sprintf("made-%d", last.Add(1)))
		}
		return false, nil, nil
	})
	return client
}

// decodeTest makes a static Pod of a word.
func decodeTest(data []byte, _ string) (*v1.Pod, error) {
	if len(data) == 0 {
		return nil, errors.New("empty")
	}
	p := testPod("static-node-1")
	p.UID, p.Generation = types.UID("static-"+string(data)), 0
	p.Annotations = map[string]string{"kubernetes.io/config.hash": string(data), "kubernetes.io/config.source": "file"}
	p.Spec.Containers[0].Env = []v1.EnvVar{{Name: "WORD", Value: string(data)}}
	return p, nil
}

func TestStaticPodsRunAndAreShown(t *testing.T) {
	client, rt, dir := withUIDs(fake.NewClientset()), fakecri.New(clock.RealClock{}), t.TempDir()
	files := filepath.Join(dir, "root")
	configure := func(c *Config) { c.FilesDir, c.DecodePod = files, decodeTest }
	b := startWith(t, client, rt, dir, configure)
	manifest := filepath.Join(files, static.Dir, "static.yaml")
	write := func(word string) {
		t.Helper()
		if err := os.WriteFile(manifest, []byte(word), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	running := func(word string) func() bool {
		return func() bool {
			p := b.pod(t, "static-node-1")
			return p != nil && p.Annotations[v1.MirrorPodAnnotationKey] == word && p.Status.Phase == v1.PodRunning && p.UID != types.UID("static-"+word)
		}
	}
	write("one")
	eventually(t, "the mirror Pod runs", running("one"))
	mirror := b.pod(t, "static-node-1")
	if o := metav1.GetControllerOf(mirror); o == nil || o.Kind != "Node" || o.Name != "node-1" {
		t.Errorf("owner %+v", o)
	}
	container := mirror.Status.ContainerStatuses[0].ContainerID
	if p, ok := b.agent.watch.Pod("default", "static-node-1"); !ok || p.UID != "static-one" || p.Status.Phase != v1.PodRunning {
		t.Errorf("the node's API knows %+v", p)
	}

	// The mirror is deleted: it comes back, and nothing else happens.
	if err := client.CoreV1().Pods("default").Delete(t.Context(), "static-node-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mirror Pod is back", func() bool { return running("one")() && b.pod(t, "static-node-1").UID != mirror.UID })
	if c := b.pod(t, "static-node-1").Status.ContainerStatuses[0]; c.ContainerID != container || c.RestartCount != 0 {
		t.Errorf("container %+v", c)
	}

	// A later agent finds it.
	b.stop()
	b = startWith(t, client, rt, dir, configure)
	eventually(t, "the mirror Pod runs", running("one"))
	if c := b.pod(t, "static-node-1").Status.ContainerStatuses[0]; c.ContainerID != container {
		t.Errorf("after a restart of the agent: container %+v", c)
	}

	write("two")
	eventually(t, "the other Pod runs", running("two"))
	eventually(t, "the first one is gone", func() bool { return len(rt.Sandboxes()) == 1 })
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing runs", func() bool { return len(rt.Sandboxes()) == 0 && b.pod(t, "static-node-1") == nil })
}

func TestPartsAreShownAndStartedAgain(t *testing.T) {
	client, dir := withUIDs(fake.NewClientset()), t.TempDir()
	after := make(chan struct{})
	var restarts atomic.Int32
	began := time.Now()
	b := startWith(t, client, fakecri.New(clock.RealClock{}), dir, func(c *Config) {
		c.PartsAfter, c.FilesDir = after, filepath.Join(dir, "root")
		c.InfoFiles = map[string]string{"/etc/cni/net.d/10-test.conflist": "{}\n"}
		c.Parts = []Part{{
			Name: "etcd", Image: "minato:test", Command: []string{"etcd"},
			State: func() PartState {
				return PartState{Ready: true, First: began, Since: began, Restarts: int(restarts.Load())}
			},
			Logs: func(_ context.Context, _ PartLogOptions, w io.Writer) error {
				_, err := io.WriteString(w, "line\n")
				return err
			},
			Restart: func() error { restarts.Add(1); return nil },
		}}
	})
	if err := os.MkdirAll(b.cfg.FilesDir, 0o755); err != nil {
		t.Fatal(err)
	}
	get := func() *v1.Pod {
		p, err := client.CoreV1().Pods("kube-system").Get(t.Context(), "etcd-node-1", metav1.GetOptions{})
		if err != nil {
			return nil
		}
		return p
	}
	if get() != nil {
		t.Error("the part is shown before the start is over")
	}
	close(after)
	ready := func() bool {
		p := get()
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready
	}
	eventually(t, "the part is shown", ready)
	first := get().UID
	if err := client.CoreV1().Pods("kube-system").Delete(t.Context(), "etcd-node-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back, and was started again", func() bool {
		return ready() && get().UID != first && get().Status.ContainerStatuses[0].RestartCount == 1
	})
	if len(b.runtime.Sandboxes()) != 0 {
		t.Error("the runtime has a sandbox for a part")
	}
	eventually(t, "the node's files are there", func() bool {
		cni, errCNI := os.ReadFile(filepath.Join(b.cfg.FilesDir, "etc/cni/net.d/10-test.conflist"))
		kubelet, errKubelet := os.ReadFile(filepath.Join(b.cfg.FilesDir, "var/lib/kubelet/config.yaml"))
		return errCNI == nil && errKubelet == nil && string(cni) == "{}\n" && strings.Contains(string(kubelet), "clusterDomain: cluster.local")
	})
}
