package csi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/plugins"
)

// What a driver says of the node is in the CSINode and the Node, until it goes.
func TestRegister(t *testing.T) {
	b := newBench(t)
	node, err := b.client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d := node.Spec.Drivers; len(d) != 1 || d[0].Name != "d" || d[0].NodeID != "id-of-n" || len(d[0].TopologyKeys) != 1 || d[0].TopologyKeys[0] != "zone" || *d[0].Allocatable.Count != 5 {
		t.Errorf("drivers of the CSINode: %+v", d)
	}
	if o := node.OwnerReferences; len(o) != 1 || o[0].UID != "nu" {
		t.Errorf("owners of the CSINode: %+v", o)
	}
	n, _ := b.cfg.Node(t.Context())
	if n.Labels["zone"] != "a" || n.Annotations[nodeIDs] != `{"d":"id-of-n"}` {
		t.Errorf("the Node has %v %v", n.Labels, n.Annotations)
	}
	// The driver's next Pod registers before the old one is gone.
	later := b.plugin
	later.Socket = "/other.sock"
	if err := b.Register(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	b.Deregister(b.plugin)
	if _, err := b.Manager.driver("d"); err != nil {
		t.Error(err)
	}
	// Or it has the same socket, and is told of before the old one's end.
	before := later
	later.Registration++
	if err := b.Register(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	b.Deregister(before)
	node, _ = b.client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
	if _, err := b.Manager.driver("d"); err != nil || len(node.Spec.Drivers) != 1 {
		t.Errorf("%v, drivers of the CSINode: %+v", err, node.Spec.Drivers)
	}
	b.Deregister(later)
	if _, err := b.Manager.driver("d"); err == nil {
		t.Error("a driver that is gone is still there")
	}
	node, _ = b.client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
	if n, _ = b.cfg.Node(t.Context()); len(node.Spec.Drivers) > 0 || n.Annotations[nodeIDs] != "" {
		t.Errorf("after the driver: %+v %v", node.Spec.Drivers, n.Annotations)
	}
}

// A Node that was deleted and made anew gets what drivers said of it, and the CSINode
// of the old one is not taken for its own.
func TestNodeMadeAnew(t *testing.T) {
	b := newBench(t)
	if err := b.client.CoreV1().Nodes().Delete(t.Context(), "n", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.CoreV1().Nodes().Create(t.Context(), &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "second"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	b.Renewed()
	go func() { ended <- b.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := b.client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
		n, _ := b.cfg.Node(t.Context())
		if err == nil && len(c.Spec.Drivers) == 1 && len(c.OwnerReferences) == 1 && c.OwnerReferences[0].UID == "second" &&
			n.Labels["zone"] == "a" && n.Annotations[nodeIDs] == `{"d":"id-of-n"}` {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the Node has %v %v, its CSINode is %+v, %v", n.Labels, n.Annotations, c, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRegisterRefused(t *testing.T) {
	b := newBench(t)
	mustFail(t, b.Register(t.Context(), plugins.Plugin{Name: "old", Versions: []string{"0.3.0"}}), "needs 1.x")
	n, _ := b.cfg.Node(t.Context())
	n.Labels["zone"] = "z"
	if _, err := b.client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	mustFail(t, b.Register(t.Context(), b.plugin), "labelled zone=z")
}

// Two Pods share a volume: it is staged once, and unstaged after the last of them.
func TestLifeOfAVolume(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	made, err := b.SetUp(t.Context(), volumeOf("u"))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(b.cfg.Dir, "pods/u/volumes/kubernetes.io~csi/pv/mount"); made.Path != want || !made.Again.IsZero() {
		t.Errorf("made %+v", made)
	}
	if got := b.driver.took(); got != "NodeStageVolume NodePublishVolume" {
		t.Error(got)
	}
	// The record is one that drivers can read.
	data, err := os.ReadFile(filepath.Join(b.cfg.Dir, "pods/u/volumes/kubernetes.io~csi/pv/vol_data.json"))
	var keys map[string]any
	if err != nil || json.Unmarshal(data, &keys) != nil || keys["volumeHandle"] != "h" || keys["driverName"] != "d" || keys["specVolID"] != "pv" || keys["volumeLifecycleMode"] != "Persistent" {
		t.Errorf("%s %v", data, err)
	}
	for _, uid := range []types.UID{"u", "v"} {
		if _, err := b.SetUp(t.Context(), volumeOf(uid)); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.driver.took(); got != "NodePublishVolume" {
		t.Error(got)
	}
	if s, ok := b.Stats(t.Context(), "v", "pv"); !ok || s.Capacity != 10 || s.Used != 3 || s.Available != 7 || s.Inodes != 0 {
		t.Errorf("stats %+v %v", s, ok)
	}
	b.driver.took()
	for _, uid := range []types.UID{"u", "u", "v", "never"} {
		if err := b.TearDown(t.Context(), uid); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.driver.took(); got != "NodeUnpublishVolume NodeUnpublishVolume NodeUnstageVolume" {
		t.Error(got)
	}
	b.nothingLeft(t)
}

// Whatever call the server was killed in, the next one goes on, and the end of the Pod
// undoes what was begun.
func TestKilledInACall(t *testing.T) {
	for _, method := range []string{"NodeStageVolume", "NodePublishVolume"} {
		b := newBench(t, csiDriver(nil))
		b.driver.fail[method] = errBusy
		_, err := b.SetUp(t.Context(), volumeOf("u"))
		mustFail(t, err, "busy")
		b.again(t)
		b.driver.took()
		if err := b.TearDown(t.Context(), "u"); err != nil {
			t.Fatal(err)
		}
		if got := b.driver.took(); got != "NodeUnpublishVolume NodeUnstageVolume" {
			t.Errorf("%s: %s", method, got)
		}
		b.nothingLeft(t)
		// Or the Pod lives on.
		_, err = b.SetUp(t.Context(), volumeOf("u"))
		mustFail(t, err, "busy")
		b.again(t)
		b.driver.set(func() { b.driver.fail = map[string]error{} })
		if _, err := b.SetUp(t.Context(), volumeOf("u")); err != nil {
			t.Error(err)
		}
	}
}

// A Pod that runs on while the server starts again needs no driver for its volume.
func TestKnownAfterAStart(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	v := volumeOf("kept") // of which fakeMounter says that it is mounted
	if _, err := b.SetUp(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	b.driver.took()
	m, err := Open(b.cfg) // where no driver is registered yet
	if err != nil {
		t.Fatal(err)
	}
	if made, err := m.SetUp(t.Context(), v); err != nil || !strings.HasSuffix(made.Path, "pv/mount") {
		t.Errorf("%+v %v", made, err)
	}
	mustFail(t, m.TearDown(t.Context(), "kept"), "is not registered on this node")
	if got := b.driver.took(); got != "" {
		t.Error(got)
	}
	// After a reboot nothing is mounted any more: the Pod waits for its driver.
	var woken []types.UID
	m.cfg.Wake = func(uid types.UID) { woken = append(woken, uid) }
	_, err = m.SetUp(t.Context(), volumeOf("u"))
	mustFail(t, err, "is not registered on this node")
	if err := m.Register(t.Context(), b.plugin); err != nil || len(woken) != 1 || woken[0] != "u" {
		t.Errorf("woken: %v %v", woken, err)
	}
}

// An error in the middle of the end leaves the rest for the next try, and the volume
// stays in use until it is unstaged.
func TestEndTriedAgain(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	if _, err := b.SetUp(t.Context(), volumeOf("u")); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"NodeUnpublishVolume", "NodeUnstageVolume"} {
		b.driver.set(func() { b.driver.fail = map[string]error{method: errBusy} })
		mustFail(t, b.TearDown(t.Context(), "u"), "busy")
		b.again(t)
	}
	b.driver.set(func() { b.driver.fail = nil })
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Error(err)
	}
	b.nothingLeft(t)
}

// A driver that hangs is given up after the bound of time and told of before; another
// volume does not wait for it.
func TestHang(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	b.Manager.cfg.Timeout = time.Second
	b.driver.set(func() { b.driver.hang["NodeStageVolume"] = true })
	_, err := b.SetUp(t.Context(), volumeOf("u"))
	mustFail(t, err, "did not answer NodeStageVolume within 1s")
	select {
	case e := <-b.events.all:
		if !strings.HasPrefix(e, "VolumeDriverSlow: volume \"data\": the CSI driver d has not answered NodeStageVolume") {
			t.Error(e)
		}
	default:
		t.Error("nobody was told")
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.Manager.cfg.Timeout = time.Hour
	failed := make(chan error)
	go func() { _, err := b.SetUp(ctx, volumeOf("u")); failed <- err }()
	other := volumeOf("v")
	other.Persistent, other.Inline = nil, &v1.CSIVolumeSource{Driver: "d"}
	other.Claim = nil
	_, err = b.SetUp(t.Context(), other)
	mustFail(t, err, "does not support the volumeLifecycleMode Ephemeral")
	cancel() // as when the Pod is deleted
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What the CSIDriver asks for reaches the driver.
func TestAttributes(t *testing.T) {
	b := newBench(t, csiDriver(func(s *storagev1.CSIDriverSpec) {
		s.PodInfoOnMount, s.RequiresRepublish = ptr(true), ptr(true)
		s.TokenRequests = []storagev1.TokenRequest{{Audience: "x"}}
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral}
	}), &v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}, Data: map[string][]byte{"k": []byte("v")}})
	v := Volume{Pod: podNamed("u"), Name: "in", ReadOnly: true, Inline: &v1.CSIVolumeSource{
		Driver: "d", VolumeAttributes: map[string]string{"a": "b"}, NodePublishSecretRef: &v1.LocalObjectReference{Name: "s"}, FSType: ptr("fs"),
	}}
	made, err := b.SetUp(t.Context(), v)
	if err != nil || made.Again.IsZero() {
		t.Fatalf("%+v %v", made, err)
	}
	req := b.driver.last["NodePublishVolume"].(*spec.NodePublishVolumeRequest)
	c := req.VolumeContext
	if c["a"] != "b" || c["csi.storage.k8s.io/pod.name"] != "p-u" || c["csi.storage.k8s.io/ephemeral"] != "true" || c["csi.storage.k8s.io/serviceAccount.name"] != "sa" || !strings.Contains(c[tokensKey], `"x":{"token":"token for x"`) {
		t.Errorf("volume_context %v", c)
	}
	if req.Secrets["k"] != "v" || !req.Readonly || req.VolumeCapability.GetMount().FsType != "fs" || !strings.HasPrefix(req.VolumeId, "csi-") || len(req.VolumeId) != 68 || req.StagingTargetPath != "" {
		t.Errorf("request %v", req)
	}
	if _, err := b.SetUp(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	if got := b.driver.took(); got != "NodePublishVolume NodePublishVolume" {
		t.Errorf("a volume with requiresRepublish: %s", got)
	}
	_, err = b.SetUp(t.Context(), volumeOf("w"))
	mustFail(t, err, "does not support the volumeLifecycleMode Persistent")
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if got := b.driver.took(); got != "NodeUnpublishVolume" {
		t.Error(got)
	}
}

func TestFSGroupPolicy(t *testing.T) {
	withType := volumeOf("u").Persistent
	withType.Spec.CSI.FSType = "ext4"
	many := withType.DeepCopy()
	many.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteMany}
	policy := func(p storagev1.FSGroupPolicy) *storagev1.CSIDriver {
		return csiDriver(func(s *storagev1.CSIDriverSpec) { s.FSGroupPolicy = &p })
	}
	for name, test := range map[string]struct {
		driver *storagev1.CSIDriver
		pv     *v1.PersistentVolume
		inline *v1.CSIVolumeSource
		want   bool
	}{
		"no CSIDriver":         {nil, withType, nil, true},
		"no type":              {nil, volumeOf("u").Persistent, nil, false},
		"many nodes":           {policy(storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy), many, nil, false},
		"None":                 {policy(storagev1.NoneFSGroupPolicy), withType, nil, false},
		"File":                 {policy(storagev1.FileFSGroupPolicy), many, nil, true},
		"inline":               {nil, nil, &v1.CSIVolumeSource{}, false},
		"inline with a type":   {nil, nil, &v1.CSIVolumeSource{FSType: ptr("ext4")}, true},
		"inline, policy: File": {policy(storagev1.FileFSGroupPolicy), nil, &v1.CSIVolumeSource{}, true},
	} {
		if got := changesGroup(test.driver, test.pv, test.inline); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A volume is the Pod's group's each time that it is published: after a reboot it may
// be another one, and a driver that publishes anew has written other files.
func TestFSGroupEachTime(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files to a group that it is not in")
	}
	b := newBench(t, csiDriver(func(s *storagev1.CSIDriverSpec) {
		s.RequiresRepublish, s.FSGroupPolicy = ptr(true), ptr(storagev1.FileFSGroupPolicy)
	}))
	group := func(path string) uint32 {
		t.Helper()
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Gid
	}
	for _, gid := range []int64{2000, 3000} { // the second Pod shares the volume of the first
		v := volumeOf(types.UID(fmt.Sprint(gid)))
		v.Pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &gid}
		for range 2 {
			made, err := b.SetUp(t.Context(), v)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(made.Path, "file")
			if got := group(made.Path); got != uint32(gid) {
				t.Errorf("the volume is of group %d, want %d", got, gid)
			}
			if _, err := os.Lstat(file); err == nil && group(file) != uint32(gid) {
				t.Errorf("a new file is of group %d, want %d", group(file), gid)
			}
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Lchown(file, -1, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A directory of a Pod that can't be read keeps the records of others from nobody.
func TestRecallPastABrokenDirectory(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	if _, err := b.SetUp(t.Context(), volumeOf("u")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.cfg.Dir, "pods", "a-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.again(t)
	b.driver.took()
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if got := b.driver.took(); got != "NodeUnpublishVolume NodeUnstageVolume" {
		t.Error(got)
	}
}

func TestAccessMode(t *testing.T) {
	for _, test := range []struct {
		mode   v1.PersistentVolumeAccessMode
		single bool
		want   spec.VolumeCapability_AccessMode_Mode
	}{
		{v1.ReadWriteOnce, false, spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		{v1.ReadWriteOnce, true, spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER},
		{v1.ReadWriteOncePod, false, spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		{v1.ReadWriteOncePod, true, spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER},
		{v1.ReadOnlyMany, true, spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY},
		{v1.ReadWriteMany, false, spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	} {
		if got := accessMode(test.mode, test.single); got != test.want {
			t.Errorf("%s, %v: %s", test.mode, test.single, got)
		}
	}
}

// A volume whose CSIDriver needs it waits for its attachment, and is in use from the
// moment it is wanted until it is unstaged.
func TestAttach(t *testing.T) {
	b := newBench(t, csiDriver(func(s *storagev1.CSIDriverSpec) { s.AttachRequired = nil }))
	name := volumeID{"d", "h"}.unique()
	b.Manager.cfg.Report = func() { // the node's part
		n, _ := b.cfg.Node(t.Context())
		n.Status.VolumesInUse = b.InUse()
		if _, err := b.client.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	_, err := b.SetUp(ctx, volumeOf("u"))
	cancel()
	mustFail(t, err, "is not attached to the node yet: there is no VolumeAttachment csi-")
	if n, _ := b.cfg.Node(t.Context()); len(n.Status.VolumesInUse) != 1 || n.Status.VolumesInUse[0] != name || name != "kubernetes.io/csi/d^h" {
		t.Errorf("in use: %v", n.Status.VolumesInUse)
	}
	attachment := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: attachmentName(volumeID{"d", "h"}, "n")},
		Status:     storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"device": "7"}},
	}
	if _, err := b.client.StorageV1().VolumeAttachments().Create(t.Context(), attachment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n, _ := b.cfg.Node(t.Context())
	n.Status.VolumesAttached = []v1.AttachedVolume{{Name: name}}
	if _, err := b.client.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetUp(t.Context(), volumeOf("u")); err != nil {
		t.Fatal(err)
	}
	if req := b.driver.last["NodeStageVolume"].(*spec.NodeStageVolumeRequest); req.PublishContext["device"] != "7" {
		t.Errorf("publish_context %v", req.PublishContext)
	}
	b.again(t)
	if got := b.InUse(); len(got) != 1 || got[0] != name {
		t.Errorf("in use after a start: %v", got)
	}
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if got := b.InUse(); len(got) != 0 {
		t.Errorf("in use after the end: %v", got)
	}
}

// A CSIDriver that is made anew with attachRequired has its volumes in use from the
// next try on.
func TestAttachRequiredLater(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	b.driver.set(func() { b.driver.fail["NodeStageVolume"] = errBusy })
	_, err := b.SetUp(t.Context(), volumeOf("u"))
	mustFail(t, err, "busy")
	if got := b.InUse(); len(got) != 0 {
		t.Errorf("in use: %v", got)
	}
	if _, err := b.client.StorageV1().CSIDrivers().Update(t.Context(), csiDriver(func(s *storagev1.CSIDriverSpec) { s.AttachRequired = nil }), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = b.SetUp(ctx, volumeOf("u"))
	mustFail(t, err, "is not attached to the node yet")
	if got := b.InUse(); len(got) != 1 {
		t.Errorf("in use: %v", got)
	}
}

// What a Pod has read-only is not grown, nor by a claim that has the name of the
// volume's and is another one.
func TestExpandNothing(t *testing.T) {
	large := v1.ResourceList{v1.ResourceStorage: resource.MustParse("2Gi")}
	readOnly := volumeOf("u")
	readOnly.ReadOnly, readOnly.Persistent.Spec.Capacity = true, large
	readOnly.Claim.Spec.Resources.Requests = large
	b := newBench(t, csiDriver(nil), readOnly.Persistent, readOnly.Claim)
	if _, err := b.SetUp(t.Context(), readOnly); err != nil {
		t.Fatal(err)
	}
	b.grow(t)
	for _, name := range []string{"pv", "other"} { // with this name, or of the same one
		v := volumeOf("v")
		b := newBench(t, csiDriver(nil), v.Persistent)
		if _, err := b.SetUp(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		later := v.Claim.DeepCopy()
		later.Spec.Resources.Requests, later.Spec.VolumeName = large, name
		if _, err := b.client.CoreV1().PersistentVolumeClaims("ns").Create(t.Context(), later, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		local := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{
			Capacity: large, PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: "/x"}},
		}}
		if name == "pv" {
			_, err := b.client.CoreV1().PersistentVolumes().Update(t.Context(), local, metav1.UpdateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		} else if _, err := b.client.CoreV1().PersistentVolumes().Create(t.Context(), local, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		b.grow(t)
		if got := b.driver.took(); got != "NodeStageVolume NodePublishVolume" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := b.driver.took(); got != "NodeStageVolume NodePublishVolume" {
		t.Error(got)
	}
}

// A claim that has grown is grown on the node, and then says so.
func TestExpand(t *testing.T) {
	v := volumeOf("u")
	b := newBench(t, csiDriver(nil), v.Persistent, v.Claim)
	if _, err := b.SetUp(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	b.driver.took()
	b.grow(t)
	grown := v.Claim.DeepCopy()
	grown.Spec.Resources.Requests = v1.ResourceList{v1.ResourceStorage: resource.MustParse("2Gi")}
	grown.Status.Conditions = []v1.PersistentVolumeClaimCondition{{Type: v1.PersistentVolumeClaimFileSystemResizePending, Status: v1.ConditionTrue}}
	grown.Status.AllocatedResourceStatuses = map[v1.ResourceName]v1.ClaimResourceStatus{v1.ResourceStorage: v1.PersistentVolumeClaimNodeResizePending}
	if _, err := b.client.CoreV1().PersistentVolumeClaims("ns").Update(t.Context(), grown, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.grow(t)
	if got := b.driver.took(); got != "" {
		t.Errorf("before the controller's part: %s", got)
	}
	pv := v.Persistent.DeepCopy()
	pv.Spec.Capacity = grown.Spec.Resources.Requests
	if _, err := b.client.CoreV1().PersistentVolumes().Update(t.Context(), pv, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.driver.set(func() { b.driver.fail["NodeExpandVolume"] = errBusy })
	b.grow(t)
	b.driver.set(func() { delete(b.driver.fail, "NodeExpandVolume") })
	b.grow(t)
	b.grow(t)
	if got := b.driver.took(); got != "NodeExpandVolume NodeExpandVolume" {
		t.Error(got)
	}
	if req := b.driver.last["NodeExpandVolume"].(*spec.NodeExpandVolumeRequest); req.CapacityRange.RequiredBytes != 2<<30 || !strings.HasSuffix(req.VolumePath, "/mount") {
		t.Errorf("request %v", req)
	}
	c, _ := b.client.CoreV1().PersistentVolumeClaims("ns").Get(t.Context(), "c", metav1.GetOptions{})
	if s := c.Status; s.Capacity.Storage().String() != "2Gi" || len(s.Conditions) > 0 || len(s.AllocatedResourceStatuses) > 0 {
		t.Errorf("status of the claim: %+v", s)
	}
}

// A driver that hangs keeps no other one from growing its volumes.
func TestExpandBesideADriverThatHangs(t *testing.T) {
	v := volumeOf("u")
	b := newBench(t, csiDriver(nil), v.Persistent, v.Claim)
	if _, err := b.SetUp(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	b.driver.set(func() { b.driver.hang["NodeExpandVolume"] = true })
	large := v1.ResourceList{v1.ResourceStorage: resource.MustParse("2Gi")}
	v.Persistent.Spec.Capacity, v.Claim.Spec.Resources.Requests = large, large
	if _, err := b.client.CoreV1().PersistentVolumeClaims("ns").Update(t.Context(), v.Claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.CoreV1().PersistentVolumes().Update(t.Context(), v.Persistent, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var hangs sync.WaitGroup
	b.expandAll(ctx, &hangs)
	b.grow(t) // which does not ask the driver a second time
	other := volumeOf("v")
	other.Persistent.Name, other.Persistent.Spec.CSI.Driver, other.Claim.Name = "pv2", "e", "c2"
	other.Claim.Spec.VolumeName = "pv2"
	e := b.plugin
	e.Name = "e"
	if err := b.Register(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.StorageV1().CSIDrivers().Create(t.Context(), &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "e"}, Spec: csiDriver(nil).Spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetUp(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	b.grow(t) // there is no claim of it: who got there was not kept waiting
	cancel()
	hangs.Wait()
	if n := strings.Count(b.driver.took(), "NodeExpandVolume"); n > 1 || len(b.growing) != 0 {
		t.Errorf("asked %d times, still growing: %v", n, b.growing)
	}
}

// A size that the driver can never have is written to the claim, and not asked for
// again.
func TestExpandInfeasible(t *testing.T) {
	v := volumeOf("u")
	v.Persistent.Spec.Capacity = v1.ResourceList{v1.ResourceStorage: resource.MustParse("2Gi")}
	v.Claim.Spec.Resources.Requests = v.Persistent.Spec.Capacity
	v.Claim.Status.AllocatedResourceStatuses = map[v1.ResourceName]v1.ClaimResourceStatus{v1.ResourceStorage: v1.PersistentVolumeClaimNodeResizePending}
	b := newBench(t, csiDriver(nil), v.Persistent, v.Claim)
	b.driver.fail["NodeExpandVolume"] = status.Error(codes.OutOfRange, "too large")
	if _, err := b.SetUp(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	b.grow(t)
	if got := b.driver.took(); got != "NodeStageVolume NodePublishVolume NodeExpandVolume" {
		t.Error(got)
	}
	c, _ := b.client.CoreV1().PersistentVolumeClaims("ns").Get(t.Context(), "c", metav1.GetOptions{})
	if c.Status.AllocatedResourceStatuses[v1.ResourceStorage] != v1.PersistentVolumeClaimNodeResizeInfeasible || c.Status.Capacity.Storage().String() != "1Gi" {
		t.Errorf("status of the claim: %+v", c.Status)
	}
}

// Records are below directories that drivers mount: a driver may write anything there.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"specVolID":"pv","volumeHandle":"h","driverName":"d"}`))
	f.Add([]byte(`{"specVolID":"../..","volumeHandle":"h","driverName":".."}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err != nil {
			return
		}
		p := places("uid", r)
		for _, path := range []string{p.dir, p.target, p.staging} {
			if !filepath.IsLocal(path) || strings.Count(p.dir, "/") != 4 {
				t.Errorf("%q is %q", data, path)
			}
		}
	})
}

// Who asks for figures waits for one volume of a driver that hangs, and not for each.
func TestStatsOfADriverThatHangs(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	for _, uid := range []types.UID{"u", "v", "w"} {
		if _, err := b.SetUp(t.Context(), volumeOf(uid)); err != nil {
			t.Fatal(err)
		}
	}
	b.driver.set(func() { b.driver.hang["NodeGetVolumeStats"] = true })
	for _, uid := range []types.UID{"u", "v", "w", "u"} {
		if s, ok := b.Stats(t.Context(), uid, "pv"); ok {
			t.Errorf("%s: %+v", uid, s)
		}
	}
	if got := b.driver.took(); got != "NodeStageVolume NodePublishVolume NodePublishVolume NodePublishVolume NodeGetVolumeStats" {
		t.Errorf("the driver was asked %s", got)
	}
}
