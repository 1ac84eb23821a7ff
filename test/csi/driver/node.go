package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NodeGetCapabilities implements the node service.
func (d *driver) NodeGetCapabilities(context.Context, *spec.NodeGetCapabilitiesRequest) (*spec.NodeGetCapabilitiesResponse, error) {
	out := &spec.NodeGetCapabilitiesResponse{}
	for _, t := range []spec.NodeServiceCapability_RPC_Type{
		spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, spec.NodeServiceCapability_RPC_EXPAND_VOLUME,
		spec.NodeServiceCapability_RPC_GET_VOLUME_STATS, spec.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		out.Capabilities = append(out.Capabilities, &spec.NodeServiceCapability{Type: &spec.NodeServiceCapability_Rpc{
			Rpc: &spec.NodeServiceCapability_RPC{Type: t},
		}})
	}
	return out, nil
}

// NodeGetInfo implements the node service.
func (d *driver) NodeGetInfo(context.Context, *spec.NodeGetInfoRequest) (*spec.NodeGetInfoResponse, error) {
	return &spec.NodeGetInfoResponse{NodeId: d.node, MaxVolumesPerNode: d.limit, AccessibleTopology: d.topology()}, nil
}

// NodeStageVolume implements the node service.
func (d *driver) NodeStageVolume(_ context.Context, req *spec.NodeStageVolumeRequest) (*spec.NodeStageVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	t, err := d.store.read("volumes", req.GetVolumeId())
	if status.Code(err) == codes.NotFound && req.GetVolumeContext()["size"] != "" {
		t, err = d.byHand(req)
	}
	if err != nil {
		return nil, err
	}
	if d.attach && (t.Attached != d.node || req.GetPublishContext()["attached-to"] != d.node) {
		return nil, status.Errorf(codes.FailedPrecondition, "the volume is not attached, or the node was not told so: %v", req.GetPublishContext())
	}
	if t.Staged != "" && t.Staged != req.GetStagingTargetPath() {
		return nil, status.Errorf(codes.FailedPrecondition, "the volume is staged at %s", t.Staged)
	}
	t.Staged = req.GetStagingTargetPath()
	if err := d.store.write("volumes", t); err != nil {
		return nil, err
	}
	if !t.Block {
		err = bind(d.store.content("volumes", t), t.Staged)
	}
	return &spec.NodeStageVolumeResponse{}, err
}

// byHand makes the volume of a PersistentVolume that somebody has written, whose
// attributes say how large it is.
func (d *driver) byHand(req *spec.NodeStageVolumeRequest) (*thing, error) {
	size, err := strconv.ParseInt(req.GetVolumeContext()["size"], 10, 64)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	t := &thing{ID: filepath.Base(req.GetVolumeId()), Name: req.GetVolumeId(), Size: size, Block: isBlock(req.GetVolumeCapability())}
	if err := d.store.fill("volumes", t, ""); err != nil {
		return nil, err
	}
	return t, d.store.write("volumes", t)
}

// NodeUnstageVolume implements the node service.
func (d *driver) NodeUnstageVolume(_ context.Context, req *spec.NodeUnstageVolumeRequest) (*spec.NodeUnstageVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	t, err := d.store.read("volumes", req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if len(t.Published) > 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "the volume is still published at %v", t.Published)
	}
	if err := unmount(req.GetStagingTargetPath()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if t.Block {
		if err := detachLoop(d.store.content("volumes", t)); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	t.Staged = ""
	return &spec.NodeUnstageVolumeResponse{}, d.store.write("volumes", t)
}

// NodePublishVolume implements the node service.
func (d *driver) NodePublishVolume(_ context.Context, req *spec.NodePublishVolumeRequest) (*spec.NodePublishVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	t, err := d.store.read("volumes", req.GetVolumeId())
	if status.Code(err) == codes.NotFound && req.GetVolumeContext()["csi.storage.k8s.io/ephemeral"] == "true" {
		t = &thing{ID: filepath.Base(req.GetVolumeId()), Name: req.GetVolumeId(), Size: defaultSize, Source: "ephemeral"}
		if err = d.store.fill("volumes", t, ""); err == nil {
			err = d.store.write("volumes", t)
		}
	}
	if err != nil {
		return nil, err
	}
	if t.Source != "ephemeral" && (t.Staged == "" || t.Staged != req.GetStagingTargetPath()) {
		return nil, status.Errorf(codes.FailedPrecondition, "the volume is staged at %q, not at %q", t.Staged, req.GetStagingTargetPath())
	}
	target := req.GetTargetPath()
	if alone(req.GetVolumeCapability()) && slices.ContainsFunc(t.Published, func(p string) bool { return p != target }) {
		return nil, status.Errorf(codes.FailedPrecondition, "the volume has a single writer, and is at %v", t.Published)
	}
	if !slices.Contains(t.Published, target) {
		t.Published = append(t.Published, target)
	}
	t.Told = req.GetVolumeContext()
	if err := d.store.write("volumes", t); err != nil {
		return nil, err
	}
	if t.Block {
		err = d.publishBlock(t, target)
	} else if err = bind(d.store.content("volumes", t), target); err == nil && req.GetReadonly() {
		err = unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.NodePublishVolumeResponse{}, nil
}

// publishBlock has the loop device of a volume appear at target.
func (d *driver) publishBlock(t *thing, target string) error {
	device, err := attachLoop(d.store.content("volumes", t))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE, 0o660)
	if err != nil {
		return err
	}
	f.Close()
	if mounted(target) {
		return nil
	}
	return unix.Mount(device, target, "", unix.MS_BIND, "")
}

// NodeUnpublishVolume implements the node service.
func (d *driver) NodeUnpublishVolume(_ context.Context, req *spec.NodeUnpublishVolumeRequest) (*spec.NodeUnpublishVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if err := unmount(req.GetTargetPath()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	t, err := d.store.read("volumes", req.GetVolumeId())
	if status.Code(err) == codes.NotFound {
		return &spec.NodeUnpublishVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	t.Published = slices.DeleteFunc(t.Published, func(p string) bool { return p == req.GetTargetPath() })
	if t.Source == "ephemeral" {
		return &spec.NodeUnpublishVolumeResponse{}, d.store.remove("volumes", t.ID)
	}
	return &spec.NodeUnpublishVolumeResponse{}, d.store.write("volumes", t)
}

// NodeExpandVolume implements the node service.
func (d *driver) NodeExpandVolume(_ context.Context, req *spec.NodeExpandVolumeRequest) (*spec.NodeExpandVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	t, err := d.store.read("volumes", req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if !slices.Contains(t.Published, req.GetVolumePath()) && t.Staged != req.GetVolumePath() {
		return nil, status.Errorf(codes.NotFound, "the volume is not at %s", req.GetVolumePath())
	}
	if req.GetCapacityRange().GetRequiredBytes() > t.Size {
		return nil, status.Errorf(codes.OutOfRange, "the volume has %d bytes", t.Size)
	}
	if t.Block {
		err = growLoop(d.store.content("volumes", t), t.Size)
	}
	return &spec.NodeExpandVolumeResponse{CapacityBytes: t.Size}, err
}

// NodeGetVolumeStats implements the node service.
func (d *driver) NodeGetVolumeStats(_ context.Context, req *spec.NodeGetVolumeStatsRequest) (*spec.NodeGetVolumeStatsResponse, error) {
	t, err := d.store.read("volumes", req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if !slices.Contains(t.Published, req.GetVolumePath()) && t.Staged != req.GetVolumePath() {
		return nil, status.Errorf(codes.NotFound, "the volume is not at %s", req.GetVolumePath())
	}
	var used, files int64
	err = filepath.WalkDir(d.store.content("volumes", t), func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := e.Info(); err == nil {
			used += info.Sys().(*syscall.Stat_t).Blocks * 512
			files++
		}
		return nil
	})
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	out := &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{
		{Unit: spec.VolumeUsage_BYTES, Total: t.Size, Used: used, Available: max(t.Size-used, 0)},
	}}
	if !t.Block {
		out.Usage = append(out.Usage, &spec.VolumeUsage{Unit: spec.VolumeUsage_INODES, Total: 1 << 20, Used: files, Available: 1<<20 - files})
	}
	return out, nil
}

// bind mounts source at target, which is made, unless something is mounted there.
func bind(source, target string) error {
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	if mounted(target) {
		return nil
	}
	return unix.Mount(source, target, "", unix.MS_BIND, "")
}

// unmount ends what bind has made, and removes the place.
func unmount(target string) error {
	for mounted(target) {
		if err := unix.Unmount(target, 0); err != nil {
			return err
		}
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// mounted tells whether path is a mount point.
func mounted(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
