package identities

import (
	"context"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"

	"minato/internal/claims"
	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer"
)

// testClaims gives a claim its directory and takes it away, as in a cluster: each
// part as its own user. Not a single request may be refused.
func testClaims(ctx context.Context, t *testing.T, c *cluster) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before := len(c.refusals())
	client := c.client(t, access.UserClaimsNode)
	f := informers.NewSharedInformerFactory(client, 0)
	core := f.Core().V1()
	in := claims.Informers{Claims: core.PersistentVolumeClaims(), Volumes: core.PersistentVolumes(), Classes: f.Storage().V1().StorageClasses()}
	events, err := loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	controller, err := claims.NewController(claims.ControllerConfig{Client: c.client(t, access.UserClaims), Informers: in, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	node, err := claims.NewNode(claims.NodeConfig{Name: "claim-node", Dir: t.TempDir(), Client: client, Informers: in, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	f.Start(ctx.Done())
	var g errgroup.Group
	for _, run := range []func(context.Context) error{events.Run, controller.Run, node.Run} {
		g.Go(func() error { return run(ctx) })
	}
	controller.MakeClass(ctx)
	class := "standard"
	pvcs := c.admin.CoreV1().PersistentVolumeClaims("default")
	_, err = pvcs.Create(ctx, &corev1.PersistentVolumeClaim{
		// As the scheduler does it.
		ObjectMeta: metav1.ObjectMeta{Name: "data", Annotations: map[string]string{"volume.kubernetes.io/selected-node": "claim-node"}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	volume := ""
	eventually(t, "the claim is bound and an event tells of it", func() bool {
		pvc, err := pvcs.Get(ctx, "data", metav1.GetOptions{})
		if err != nil || pvc.Status.Phase != corev1.ClaimBound {
			return false
		}
		volume = pvc.Spec.VolumeName
		told, err := c.admin.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "reason=ProvisioningSucceeded"})
		return err == nil && len(told.Items) > 0
	})
	if err := pvcs.Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the PersistentVolume is gone", func() bool {
		_, err := c.admin.CoreV1().PersistentVolumes().Get(ctx, volume, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	f.Shutdown()
	if refused := c.refusals()[before:]; len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}
