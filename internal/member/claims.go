package member

import (
	"context"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"minato/internal/claims"
	"minato/internal/loadbalancer"
)

// watchClaims makes what all members need to give claims their directories.
func (w *Watch) watchClaims(cfg WatchConfig, client kubernetes.Interface) (err error) {
	w.claimClient, w.storage = client, informers.NewSharedInformerFactory(client, 0)
	w.claimEvents, err = loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: client, Logger: cfg.Logger.With("part", "claims")})
	return err
}

// followClaims follows claims and what they are bound to, after the start.
func (w *Watch) followClaims(ctx context.Context) error {
	if w.awaitStart(ctx) != nil {
		return nil
	}
	w.storage.Start(ctx.Done())
	defer w.storage.Shutdown()
	<-ctx.Done()
	return nil
}

// Claims are the objects that give claims their directories.
func (w *Watch) Claims() claims.Informers {
	core := w.storage.Core().V1()
	return claims.Informers{
		Claims: core.PersistentVolumeClaims(), Volumes: core.PersistentVolumes(), Classes: w.storage.Storage().V1().StorageClasses(),
	}
}

// ClaimEvents takes events about claims.
func (w *Watch) ClaimEvents() claims.Events { return w.claimEvents }

// newClaims makes the node's part in giving claims their directories.
func (m *Member) newClaims() (err error) {
	w := m.cfg.Watch
	m.claims, err = claims.NewNode(claims.NodeConfig{
		Name: m.cfg.Name, Dir: m.cfg.DataDir, Client: w.claimClient, Informers: w.Claims(), Events: w.claimEvents, Logger: m.logger("claims"),
	})
	return err
}
