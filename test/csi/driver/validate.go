package main

import (
	spec "github.com/container-storage-interface/spec/lib/go/csi"
)

// lacks names the field that the interface requires of a request and that it does not
// have; empty if it has all.
func lacks(req any) string {
	first := func(fields ...string) string { // pairs of a name and a value
		for i := 0; i < len(fields); i += 2 {
			if fields[i+1] == "" {
				return fields[i]
			}
		}
		return ""
	}
	set := func(is bool) string {
		if is {
			return "set"
		}
		return ""
	}
	switch r := req.(type) {
	case *spec.CreateVolumeRequest:
		return first("name", r.GetName(), "volume_capabilities", set(len(r.GetVolumeCapabilities()) > 0))
	case *spec.DeleteVolumeRequest:
		return first("volume_id", r.GetVolumeId())
	case *spec.ControllerPublishVolumeRequest:
		return first("volume_id", r.GetVolumeId(), "node_id", r.GetNodeId(), "volume_capability", set(r.GetVolumeCapability() != nil))
	case *spec.ControllerUnpublishVolumeRequest:
		return first("volume_id", r.GetVolumeId())
	case *spec.ValidateVolumeCapabilitiesRequest:
		return first("volume_id", r.GetVolumeId(), "volume_capabilities", set(len(r.GetVolumeCapabilities()) > 0))
	case *spec.ControllerExpandVolumeRequest:
		return first("volume_id", r.GetVolumeId(), "capacity_range", set(r.GetCapacityRange() != nil))
	case *spec.CreateSnapshotRequest:
		return first("name", r.GetName(), "source_volume_id", r.GetSourceVolumeId())
	case *spec.DeleteSnapshotRequest:
		return first("snapshot_id", r.GetSnapshotId())
	case *spec.NodeStageVolumeRequest:
		return first("volume_id", r.GetVolumeId(), "staging_target_path", r.GetStagingTargetPath(), "volume_capability", set(r.GetVolumeCapability() != nil))
	case *spec.NodeUnstageVolumeRequest:
		return first("volume_id", r.GetVolumeId(), "staging_target_path", r.GetStagingTargetPath())
	case *spec.NodePublishVolumeRequest:
		return first("volume_id", r.GetVolumeId(), "target_path", r.GetTargetPath(), "volume_capability", set(r.GetVolumeCapability() != nil))
	case *spec.NodeUnpublishVolumeRequest:
		return first("volume_id", r.GetVolumeId(), "target_path", r.GetTargetPath())
	case *spec.NodeExpandVolumeRequest:
		return first("volume_id", r.GetVolumeId(), "volume_path", r.GetVolumePath())
	case *spec.NodeGetVolumeStatsRequest:
		return first("volume_id", r.GetVolumeId(), "volume_path", r.GetVolumePath())
	}
	return ""
}

// alone tells whether a volume may be at one place of a node only.
func alone(c *spec.VolumeCapability) bool {
	return c.GetAccessMode().GetMode() == spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
}
