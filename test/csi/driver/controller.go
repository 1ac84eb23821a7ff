package main

import (
	"context"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const defaultSize = 1 << 20

// topologyKey is the label of the node that has a volume.
func (d *driver) topologyKey() string { return "topology." + d.name + "/node" }

func (d *driver) topology() *spec.Topology {
	return &spec.Topology{Segments: map[string]string{d.topologyKey(): d.node}}
}

// ControllerGetCapabilities implements the controller service.
func (d *driver) ControllerGetCapabilities(context.Context, *spec.ControllerGetCapabilitiesRequest) (*spec.ControllerGetCapabilitiesResponse, error) {
	types := []spec.ControllerServiceCapability_RPC_Type{
		spec.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME, spec.ControllerServiceCapability_RPC_CLONE_VOLUME,
		spec.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT, spec.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		spec.ControllerServiceCapability_RPC_EXPAND_VOLUME, spec.ControllerServiceCapability_RPC_GET_CAPACITY,
		spec.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	}
	if d.attach {
		types = append(types, spec.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME)
	}
	out := &spec.ControllerGetCapabilitiesResponse{}
	for _, t := range types {
		out.Capabilities = append(out.Capabilities, &spec.ControllerServiceCapability{Type: &spec.ControllerServiceCapability_Rpc{
			Rpc: &spec.ControllerServiceCapability_RPC{Type: t},
		}})
	}
	return out, nil
}

// size is what a request asks for.
func size(r *spec.CapacityRange) int64 { return max(r.GetRequiredBytes(), defaultSize) }

// isBlock tells whether one of the capabilities is a block device's.
func isBlock(all ...*spec.VolumeCapability) bool {
	for _, c := range all {
		if c.GetBlock() != nil {
			return true
		}
	}
	return false
}

// CreateVolume implements the controller service.
func (d *driver) CreateVolume(_ context.Context, req *spec.CreateVolumeRequest) (*spec.CreateVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	id := idOf(req.Name)
	have, err := d.store.read("volumes", id)
	if err == nil {
		if have.Size < req.GetCapacityRange().GetRequiredBytes() {
			return nil, status.Errorf(codes.AlreadyExists, "the volume %s exists with another size", req.Name)
		}
		return d.created(have, req), nil
	}
	t := &thing{ID: id, Name: req.Name, Size: size(req.CapacityRange), Block: isBlock(req.VolumeCapabilities...)}
	if free, err := d.store.free(); err != nil || t.Size > free {
		return nil, status.Errorf(codes.ResourceExhausted, "%d bytes are asked for, and %d are free", t.Size, free)
	}
	from, err := d.source(req.GetVolumeContentSource(), t)
	if err != nil {
		return nil, err
	}
	if err := d.store.fill("volumes", t, from); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := d.store.write("volumes", t); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return d.created(t, req), nil
}

func (d *driver) created(t *thing, req *spec.CreateVolumeRequest) *spec.CreateVolumeResponse {
	return &spec.CreateVolumeResponse{Volume: &spec.Volume{
		VolumeId: t.ID, CapacityBytes: t.Size, VolumeContext: req.GetParameters(), ContentSource: req.GetVolumeContentSource(),
		AccessibleTopology: []*spec.Topology{d.topology()},
	}}
}

// source is the content that a new volume begins with.
func (d *driver) source(from *spec.VolumeContentSource, t *thing) (string, error) {
	kind, id := "", ""
	switch {
	case from == nil:
		return "", nil
	case from.GetVolume() != nil:
		kind, id = "volumes", from.GetVolume().GetVolumeId()
	case from.GetSnapshot() != nil:
		kind, id = "snapshots", from.GetSnapshot().GetSnapshotId()
	}
	s, err := d.store.read(kind, id)
	if err != nil {
		return "", err
	}
	if s.Block != t.Block || s.Size > t.Size {
		return "", status.Errorf(codes.OutOfRange, "the source %s is of another mode, or larger", id)
	}
	t.Source = s.ID
	return d.store.content(kind, s), nil
}

// DeleteVolume implements the controller service.
func (d *driver) DeleteVolume(_ context.Context, req *spec.DeleteVolumeRequest) (*spec.DeleteVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	t, err := d.store.read("volumes", req.GetVolumeId())
	if status.Code(err) == codes.NotFound {
		return &spec.DeleteVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if t.Attached != "" || t.Staged != "" || len(t.Published) > 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "the volume is in use: %+v", t)
	}
	return &spec.DeleteVolumeResponse{}, d.store.remove("volumes", t.ID)
}

// ControllerPublishVolume implements the controller service.
func (d *driver) ControllerPublishVolume(_ context.Context, req *spec.ControllerPublishVolumeRequest) (*spec.ControllerPublishVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if req.GetNodeId() != d.node {
		return nil, status.Errorf(codes.NotFound, "there is no node %s", req.GetNodeId())
	}
	t, err := d.store.read("volumes", req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if t.Attached != "" && t.ReadOnly != req.GetReadonly() {
		return nil, status.Errorf(codes.AlreadyExists, "the volume is attached to %s with another readonly", t.Attached)
	}
	if t.Attached == "" && d.limit > 0 {
		all, err := d.store.list("volumes")
		if err != nil {
			return nil, err
		}
		if n := attachedOf(all); n >= d.limit {
			return nil, status.Errorf(codes.ResourceExhausted, "%d volumes are attached to %s, which is all it takes", n, d.node)
		}
	}
	t.Attached, t.ReadOnly = d.node, req.GetReadonly()
	return &spec.ControllerPublishVolumeResponse{PublishContext: map[string]string{"attached-to": d.node}}, d.store.write("volumes", t)
}

func attachedOf(all []*thing) (n int64) {
	for _, t := range all {
		if t.Attached != "" {
			n++
		}
	}
	return n
}

// ControllerUnpublishVolume implements the controller service.
func (d *driver) ControllerUnpublishVolume(_ context.Context, req *spec.ControllerUnpublishVolumeRequest) (*spec.ControllerUnpublishVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	t, err := d.store.read("volumes", req.GetVolumeId())
	if status.Code(err) == codes.NotFound {
		return &spec.ControllerUnpublishVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if t.Staged != "" || len(t.Published) > 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "the volume is in use on the node: %+v", t)
	}
	t.Attached, t.ReadOnly = "", false
	return &spec.ControllerUnpublishVolumeResponse{}, d.store.write("volumes", t)
}

// ValidateVolumeCapabilities implements the controller service.
func (d *driver) ValidateVolumeCapabilities(_ context.Context, req *spec.ValidateVolumeCapabilitiesRequest) (*spec.ValidateVolumeCapabilitiesResponse, error) {
	if _, err := d.store.read("volumes", req.GetVolumeId()); err != nil {
		return nil, err
	}
	return &spec.ValidateVolumeCapabilitiesResponse{Confirmed: &spec.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: req.GetVolumeCapabilities()}}, nil
}

// GetCapacity implements the controller service.
func (d *driver) GetCapacity(_ context.Context, req *spec.GetCapacityRequest) (*spec.GetCapacityResponse, error) {
	if at := req.GetAccessibleTopology().GetSegments(); at != nil && at[d.topologyKey()] != d.node {
		return &spec.GetCapacityResponse{}, nil
	}
	free, err := d.store.free()
	return &spec.GetCapacityResponse{AvailableCapacity: free}, err
}

// ControllerExpandVolume implements the controller service.
func (d *driver) ControllerExpandVolume(_ context.Context, req *spec.ControllerExpandVolumeRequest) (*spec.ControllerExpandVolumeResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	t, err := d.store.read("volumes", req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	want := req.GetCapacityRange().GetRequiredBytes()
	if free, err := d.store.free(); err != nil || want-t.Size > free {
		return nil, status.Errorf(codes.OutOfRange, "%d bytes are asked for, and %d are free", want-t.Size, free)
	}
	if t.Size < want {
		t.Size = want
		if err := d.store.write("volumes", t); err != nil {
			return nil, err
		}
	}
	return &spec.ControllerExpandVolumeResponse{CapacityBytes: t.Size, NodeExpansionRequired: d.expands}, nil
}

// CreateSnapshot implements the controller service.
func (d *driver) CreateSnapshot(_ context.Context, req *spec.CreateSnapshotRequest) (*spec.CreateSnapshotResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	id := idOf(req.GetName())
	if have, err := d.store.read("snapshots", id); err == nil {
		if have.Source != req.GetSourceVolumeId() {
			return nil, status.Errorf(codes.AlreadyExists, "the snapshot %s is of another volume", req.GetName())
		}
		return &spec.CreateSnapshotResponse{Snapshot: snapshot(have)}, nil
	}
	v, err := d.store.read("volumes", req.GetSourceVolumeId())
	if err != nil {
		return nil, err
	}
	t := &thing{ID: id, Name: req.GetName(), Size: v.Size, Block: v.Block, Source: v.ID, Made: time.Now()}
	if err := d.store.fill("snapshots", t, d.store.content("volumes", v)); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.CreateSnapshotResponse{Snapshot: snapshot(t)}, d.store.write("snapshots", t)
}

func snapshot(t *thing) *spec.Snapshot {
	return &spec.Snapshot{SnapshotId: t.ID, SourceVolumeId: t.Source, SizeBytes: t.Size, CreationTime: timestamppb.New(t.Made), ReadyToUse: true}
}

// DeleteSnapshot implements the controller service.
func (d *driver) DeleteSnapshot(_ context.Context, req *spec.DeleteSnapshotRequest) (*spec.DeleteSnapshotResponse, error) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	return &spec.DeleteSnapshotResponse{}, d.store.remove("snapshots", req.GetSnapshotId())
}

// ListSnapshots implements the controller service.
func (d *driver) ListSnapshots(_ context.Context, req *spec.ListSnapshotsRequest) (*spec.ListSnapshotsResponse, error) {
	all, err := d.store.list("snapshots")
	if err != nil {
		return nil, err
	}
	out := &spec.ListSnapshotsResponse{}
	for _, t := range all { // by their IDs: the token is the last one told
		if t.ID <= req.GetStartingToken() || req.GetSnapshotId() != "" && req.GetSnapshotId() != t.ID ||
			req.GetSourceVolumeId() != "" && req.GetSourceVolumeId() != t.Source {
			continue
		}
		if n := len(out.Entries); req.GetMaxEntries() > 0 && n == int(req.GetMaxEntries()) {
			out.NextToken = out.Entries[n-1].Snapshot.SnapshotId
			break
		}
		out.Entries = append(out.Entries, &spec.ListSnapshotsResponse_Entry{Snapshot: snapshot(t)})
	}
	return out, nil
}
