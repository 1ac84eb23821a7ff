package csi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// attachmentName is the name that the attach-detach controller gives the
// VolumeAttachment of a volume.
func attachmentName(id volumeID, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(id.handle+id.driver+node)))
}

// awaitAttached waits until the attach-detach controller has attached the volume, and
// the Node says both that it is attached and that it is in use: from then on it is not
// detached before the node says so. It returns what the attacher says to the driver. With
// follow, a node that is full is an error at once.
func (m *Manager) awaitAttached(ctx context.Context, id volumeID, follow bool) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	m.cfg.Report()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		said, err := m.attached(ctx, id)
		var full *fullError
		if err == nil || follow && asFull(err, &full) {
			return said, err
		}
		select {
		case <-ctx.Done():
			if ctx.Err() == context.Canceled {
				return nil, ctx.Err()
			}
			return nil, err
		case <-time.After(pause):
		}
	}
}

// attached looks once.
func (m *Manager) attached(ctx context.Context, id volumeID) (map[string]string, error) {
	node, err := m.cfg.Node(ctx)
	if err != nil {
		return nil, err
	}
	name := id.unique()
	inUse := slices.Contains(node.Status.VolumesInUse, name)
	listed := slices.ContainsFunc(node.Status.VolumesAttached, func(v v1.AttachedVolume) bool { return v.Name == name })
	attachment, err := m.cfg.Client.StorageV1().VolumeAttachments().Get(ctx, attachmentName(id, m.cfg.NodeName), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		// A node may not read what is not there.
		return nil, fmt.Errorf("the volume %s of the CSI driver %s %w: there is no VolumeAttachment %s", id.handle, id.driver, errDetached, attachmentName(id, m.cfg.NodeName))
	case err != nil:
		return nil, err
	case attachment.DeletionTimestamp != nil:
		return nil, fmt.Errorf("the volume %s of the CSI driver %s %w: its VolumeAttachment %s is being deleted", id.handle, id.driver, errDetached, attachment.Name)
	case attachment.Status.AttachError != nil && isExhausted(attachment.Status.AttachError):
		return nil, &fullError{attachment.Status.AttachError.Message}
	case attachment.Status.AttachError != nil:
		return nil, fmt.Errorf("the volume %s of the CSI driver %s %w: %s", id.handle, id.driver, errDetached, attachment.Status.AttachError.Message)
	case !attachment.Status.Attached || !listed:
		return nil, fmt.Errorf("the volume %s of the CSI driver %s %w: its attacher has not attached the VolumeAttachment %s; look whether the driver's external-attacher runs", id.handle, id.driver, errDetached, attachment.Name)
	case !inUse:
		m.cfg.Report()
		return nil, fmt.Errorf("the volume %s of the CSI driver %s is attached, and the node could not write yet that it is in use", id.handle, id.driver)
	}
	return attachment.Status.AttachmentMetadata, nil
}

// fullError is the attacher's answer that the node takes no more volumes.
type fullError struct{ message string }

func (e *fullError) Error() string { return "the volume " + errDetached.Error() + ": " + e.message }

func (e *fullError) Unwrap() error { return errDetached }

func asFull(err error, full **fullError) bool { return errors.As(err, full) }

// isExhausted tells whether an attacher was told that the node takes no more volumes.
func isExhausted(e *storagev1.VolumeError) bool {
	return e.ErrorCode != nil && codes.Code(*e.ErrorCode) == codes.ResourceExhausted
}
