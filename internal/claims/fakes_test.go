package claims

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	storagevolume "k8s.io/component-helpers/storage/volume"

	"minato/internal/claims/plan"
)

// told are the events that were told.
type told struct {
	mu  sync.Mutex
	all []string
}

func (e *told) Event(source string, about v1.ObjectReference, kind, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, strings.Join([]string{source, about.Kind, about.Name, kind, reason, message}, " "))
}

func (e *told) has(words ...string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.all, func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}

// world is an API with a node that runs.
type world struct {
	t      *testing.T
	client *fake.Clientset
	events *told
	dir    string
}

func newWorld(t *testing.T) *world {
	return &world{t: t, client: fake.NewClientset(Class()), events: &told{}, dir: t.TempDir()}
}

// run runs one of the package's parts until the test, or stop, ends it.
func (w *world) run(build func(Informers) (interface{ Run(context.Context) error }, error)) (stop func()) {
	w.t.Helper()
	f := informers.NewSharedInformerFactory(w.client, 0)
	core := f.Core().V1()
	part, err := build(Informers{core.PersistentVolumeClaims(), core.PersistentVolumes(), f.Storage().V1().StorageClasses()})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	f.Start(ctx.Done())
	done := finished(func() error { return part.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		f.Shutdown()
	})
	w.t.Cleanup(stop)
	return stop
}

func finished(fn func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	return done
}

func (w *world) node(name string) (stop func()) {
	return w.run(func(in Informers) (interface{ Run(context.Context) error }, error) {
		return NewNode(NodeConfig{Name: name, Dir: w.dir, Client: w.client, Informers: in, Events: w.events, Logger: slog.New(slog.DiscardHandler)})
	})
}

func (w *world) claim(name, node string, change ...func(*v1.PersistentVolumeClaim)) {
	w.t.Helper()
	class := plan.ClassName
	c := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Annotations: map[string]string{storagevolume.AnnStorageProvisioner: plan.Provisioner}},
		Spec: v1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if node != "" {
		c.Annotations[storagevolume.AnnSelectedNode] = node
	}
	for _, f := range change {
		f(c)
	}
	if _, err := w.client.CoreV1().PersistentVolumeClaims("default").Create(w.t.Context(), c, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) unclaim(name string) {
	w.t.Helper()
	if err := w.client.CoreV1().PersistentVolumeClaims("default").Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) volume(name string) *v1.PersistentVolume {
	pv, err := w.client.CoreV1().PersistentVolumes().Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return pv
}

func (w *world) update(pv *v1.PersistentVolume) {
	w.t.Helper()
	if _, err := w.client.CoreV1().PersistentVolumes().Update(w.t.Context(), pv, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) class(c *storagev1.StorageClass) {
	w.t.Helper()
	if _, err := w.client.StorageV1().StorageClasses().Create(w.t.Context(), c, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: that did not come", what)
		}
	}
}
