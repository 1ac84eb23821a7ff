package claims

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/claims/plan"
)

func TestProvision(t *testing.T) {
	w := newWorld(t)
	w.claim("mine", "node-1")
	w.claim("other", "node-2")
	w.claim("shared", "node-1", func(c *v1.PersistentVolumeClaim) { c.Spec.AccessModes[0] = v1.ReadWriteMany })
	w.node("node-1")
	eventually(t, "a PersistentVolume", func() bool { return w.volume("pvc-uid-mine") != nil })
	pv := w.volume("pvc-uid-mine")
	if want := filepath.Join(w.dir, "volumes", pv.Name); pv.Spec.Local.Path != want {
		t.Errorf("path %s, want %s", pv.Spec.Local.Path, want)
	}
	info, err := os.Stat(pv.Spec.Local.Path)
	if err != nil || info.Mode() != fs.ModeDir|0o777 {
		t.Errorf("directory: %v %v", info, err)
	}
	eventually(t, "events", func() bool {
		return w.events.has("minato.local/directory_node-1", "mine", "Normal ProvisioningSucceeded", "1Gi is not enforced") &&
			w.events.has("shared", "Warning ProvisioningFailed", "ReadWriteMany")
	})
	if w.volume("pvc-uid-other") != nil || w.volume("pvc-uid-shared") != nil {
		t.Error("a volume was made that should not have been")
	}
}

func TestReclaim(t *testing.T) {
	w := newWorld(t)
	stop := w.node("node-1")
	for _, name := range []string{"a", "b", "kept"} {
		w.claim(name, "node-1")
		eventually(t, "a PersistentVolume", func() bool { return w.volume("pvc-uid-"+name) != nil })
		if err := os.WriteFile(filepath.Join(w.dir, "volumes", "pvc-uid-"+name, "data"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outside := t.TempDir()
	for path, target := range map[string]string{"a/link": outside} {
		if err := os.Symlink(target, filepath.Join(w.dir, "volumes", "pvc-uid-"+path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.unclaim("a")
	pv := w.volume("pvc-uid-a")
	pv.Status.Phase = v1.VolumeReleased
	w.update(pv)
	kept := w.volume("pvc-uid-kept")
	kept.Spec.PersistentVolumeReclaimPolicy, kept.Status.Phase = v1.PersistentVolumeReclaimRetain, v1.VolumeReleased
	w.update(kept)
	eventually(t, "the end of a released volume", func() bool { return w.volume("pvc-uid-a") == nil })
	if _, err := os.Lstat(filepath.Join(w.dir, "volumes", "pvc-uid-a")); err == nil {
		t.Error("the directory of a released volume is still there")
	}
	if _, err := os.Lstat(filepath.Join(outside, "file")); err != nil {
		t.Error("a link in a volume was followed")
	}

	// A volume that is released while nobody runs is removed by the next run,
	// which removes directories that nobody knows only if they are empty.
	stop()
	w.unclaim("b")
	pv = w.volume("pvc-uid-b")
	pv.Status.Phase = v1.VolumeReleased
	w.update(pv)
	for _, name := range []string{"pvc-empty", ".pvc-half", "pvc-full"} {
		if err := os.Mkdir(filepath.Join(w.dir, "volumes", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(w.dir, "volumes", "pvc-full", "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.node("node-1")
	eventually(t, "the end of a released volume", func() bool { return w.volume("pvc-uid-b") == nil })
	eventually(t, "only what has data is left", func() bool {
		left, err := os.ReadDir(filepath.Join(w.dir, "volumes"))
		return err == nil && len(left) == 2 && left[0].Name() == "pvc-full" && left[1].Name() == "pvc-uid-kept"
	})

	// A volume that is deleted itself: what was retained stays.
	kept = w.volume("pvc-uid-kept")
	kept.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	w.update(kept)
	eventually(t, "the finalizer to go", func() bool {
		pv := w.volume("pvc-uid-kept")
		return pv == nil || len(pv.Finalizers) == 0
	})
	if _, err := os.Stat(filepath.Join(w.dir, "volumes", "pvc-uid-kept", "data")); err != nil {
		t.Error("the data of a retained volume is gone")
	}
}

// What was not made for a PersistentVolume is not removed with it.
func TestForeignDirectory(t *testing.T) {
	w := newWorld(t)
	foreign := t.TempDir()
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: "x"}}
	pv := plan.Volume(claim, Class(), "node-1", foreign)
	pv.Status.Phase = v1.VolumeReleased
	if _, err := w.client.CoreV1().PersistentVolumes().Create(t.Context(), pv, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.node("node-1")
	eventually(t, "an event", func() bool { return w.events.has("PersistentVolume pvc-x", "VolumeFailedDelete", foreign) })
	if _, err := os.Stat(foreign); err != nil || w.volume("pvc-x") == nil {
		t.Error("a foreign directory was removed")
	}
}

// A link in the place of the folder does not lead out of the node's data.
func TestFolderIsALink(t *testing.T) {
	d, outside := directories{t.TempDir()}, t.TempDir()
	if err := os.Symlink(outside, filepath.Join(d.data, folder)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(outside, "pvc-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if d.create("pvc-2") == nil || d.remove("pvc-1") == nil || d.sweep(func(string) bool { return false }) == nil {
		t.Error("a link was followed")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
		t.Errorf("outside: %v %v", left, err)
	}
}

func TestController(t *testing.T) {
	w := newWorld(t)
	if err := w.client.StorageV1().StorageClasses().Delete(t.Context(), plan.ClassName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var c *Controller
	w.run(func(in Informers) (interface{ Run(context.Context) error }, error) {
		var err error
		c, err = NewController(ControllerConfig{Client: w.client, Informers: in, Events: w.events})
		return c, err
	})
	classes := w.client.StorageV1().StorageClasses()
	c.MakeClass(t.Context())
	have, err := classes.Get(t.Context(), plan.ClassName, metav1.GetOptions{})
	if err != nil || have.Annotations[isDefault] != "true" || have.AllowVolumeExpansion != nil {
		t.Errorf("%+v %v", have, err)
	}
	// Made once: what was deleted stays away.
	if err := classes.Delete(t.Context(), plan.ClassName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if c.MakeClass(t.Context()); func() bool {
		_, err := classes.Get(t.Context(), plan.ClassName, metav1.GetOptions{})
		return err == nil
	}() {
		t.Error("the class was made again")
	}
	immediate := storagev1.VolumeBindingImmediate
	now := Class()
	now.VolumeBindingMode, now.Name = &immediate, "now"
	w.class(now)
	w.claim("at-once", "", func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = &now.Name })
	eventually(t, "an event", func() bool { return w.events.has("at-once", "ProvisioningFailed", "WaitForFirstConsumer") })
}
