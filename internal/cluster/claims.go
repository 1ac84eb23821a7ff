package cluster

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"

	"minato/internal/claims"
	"minato/internal/controlplane/access"
)

// assembleClaims puts together what a cluster has once for claims to directories
// of its nodes.
func (s *Server) assembleClaims() error {
	client, err := kubernetes.NewForConfig(s.control.RESTConfig(access.UserClaims))
	if err != nil {
		return fmt.Errorf("connect %s: %w", access.UserClaims, err)
	}
	s.claims, err = claims.NewController(claims.ControllerConfig{
		Client: client, Informers: s.watch.Claims(), Events: s.watch.ClaimEvents(), Logger: s.log.With("part", "claims"),
	})
	return err
}

// controlClaims makes the StorageClass as soon as there is an API, since claims
// that come before it wait for it, and looks after claims once the start is over.
func (s *Server) controlClaims(ctx context.Context) error {
	for _, ready := range []<-chan struct{}{s.control.Ready(), s.started} {
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
		}
		if ready == s.control.Ready() {
			s.claims.MakeClass(ctx)
		}
	}
	return s.claims.Run(ctx)
}
