package controllers

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	"k8s.io/kubernetes/pkg/controller/volume/persistentvolume"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/util/recyclerclient"
)

// newVolumeBinder makes the controller that binds claims to PersistentVolumes.
// Upstream's constructor has it remove the files of hostPath volumes itself, by
// their paths on the machine that it runs on, though they are on a node, and
// containers may have put links into the paths.
func newVolumeBinder(ctx context.Context, cc app.ControllerContext) (app.Controller, error) {
	settings := cc.ComponentConfig.PersistentVolumeBinderController
	plugins, err := app.ProbeProvisionableRecyclableVolumePlugins(klog.FromContext(ctx), settings.VolumeConfiguration)
	if err != nil {
		return nil, fmt.Errorf("volume plugins of controller %s: %w", names.PersistentVolumeBinderController, err)
	}
	for i, p := range plugins {
		if p.GetPluginName() == hostPathPlugin {
			plugins[i] = onNodes{p}
		}
	}
	client, err := cc.ClientBuilder.Client("persistent-volume-binder")
	if err != nil {
		return nil, err
	}
	core := cc.InformerFactory.Core().V1()
	controller, err := persistentvolume.NewController(ctx, persistentvolume.ControllerParameters{
		KubeClient:                client,
		SyncPeriod:                settings.PVClaimBinderSyncPeriod.Duration,
		VolumePlugins:             plugins,
		VolumeInformer:            core.PersistentVolumes(),
		ClaimInformer:             core.PersistentVolumeClaims(),
		ClassInformer:             cc.InformerFactory.Storage().V1().StorageClasses(),
		PodInformer:               core.Pods(),
		NodeInformer:              core.Nodes(),
		EnableDynamicProvisioning: settings.VolumeConfiguration.EnableDynamicProvisioning,
	})
	if err != nil {
		return nil, fmt.Errorf("controller %s: %w", names.PersistentVolumeBinderController, err)
	}
	return loop{names.PersistentVolumeBinderController, controller.Run}, nil
}

const hostPathPlugin = "kubernetes.io/host-path"

// onNodes is upstream's plugin for hostPath volumes but for what would touch their
// files.
type onNodes struct{ volume.VolumePlugin }

var (
	_ volume.DeletableVolumePlugin  = onNodes{}
	_ volume.RecyclableVolumePlugin = onNodes{}
)

// errOnNodes is why a hostPath volume can only be retained.
var errOnNodes = errors.New("the files of a hostPath volume are on nodes, where nothing removes them: set persistentVolumeReclaimPolicy to Retain, or remove the files and then the PersistentVolume yourself; claims of the StorageClass standard get volumes that are removed")

// NewDeleter implements volume.DeletableVolumePlugin.
func (onNodes) NewDeleter(klog.Logger, *volume.Spec) (volume.Deleter, error) {
	return nil, errOnNodes
}

// Recycle implements volume.RecyclableVolumePlugin.
func (onNodes) Recycle(string, *volume.Spec, recyclerclient.RecycleEventRecorder) error {
	return errOnNodes
}
