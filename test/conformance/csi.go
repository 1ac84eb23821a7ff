package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"minato/test/images"
)

// Where the driver of test/csi is described, from the repository's root, and where
// its sidecars are built.
const (
	csiDriver   = "test/csi/deploy/driver.yaml"
	csiTest     = "test/csi/deploy/testdriver.yaml"
	csiSidecars = "test/csi/sidecars"
	// snapshotClient is the module that has the definitions of snapshots' kinds.
	snapshotClient = "github.com/kubernetes-csi/external-snapshotter/client/v8"
)

// deployDriver runs the CSI driver and waits until a node has it.
func (c *cluster) deployDriver(ctx context.Context) error {
	progress("deploy the CSI driver of test/csi")
	load := []string{"image", "load", "--name", c.name}
	for _, r := range images.Sidecars() {
		load = append(load, filepath.Join(c.images, r.Name+".tar"))
	}
	if err := c.do(ctx, append(load, filepath.Join(c.images, "csi-driver.tar"))...); err != nil {
		return err
	}
	definitions, err := snapshotKinds(ctx)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "-k", definitions},
		{"apply", "-f", csiDriver},
		{"rollout", "status", "statefulset", "driver", "-n", "kube-system", "--timeout=2m"},
	} {
		if err := command(ctx, filepath.Join(c.out, kubectl), append([]string{"--kubeconfig", c.kubeconfig()}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// snapshotKinds is the directory of the definitions, with a kustomization.
func snapshotKinds(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", snapshotClient)
	cmd.Dir = csiSidecars
	out, err := cmd.Output()
	dir := string(bytes.TrimSpace(out))
	if err != nil || dir == "" {
		return "", fmt.Errorf("find the module %s, which is there once the sidecars are built: %w", snapshotClient, err)
	}
	return filepath.Join(dir, "config/crd"), nil
}
