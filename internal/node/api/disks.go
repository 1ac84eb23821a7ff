package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/clock"

	"minato/internal/host"
	"minato/internal/node/spec"
)

const (
	// diskPause is how long what was measured of the disk counts, as in a kubelet:
	// whoever may ask must not keep the disk busy.
	diskPause = time.Minute
	// diskPatience bounds how long the disk is measured for one answer.
	diskPatience = 20 * time.Second
)

// disks measures what Pods take of the node's disk. One request measures at a time.
type disks struct {
	runtime Runtime
	images  Images
	volumes Volumes
	pods    Pods
	logDir  string
	dir     string
	limit   int64 // of the node's bytes; 0 is none
	used    func(ctx context.Context) (int64, error)
	log     *slog.Logger
	clock   clock.PassiveClock
	busy    chan struct{} // of one place; who holds it may use what follows
	at      time.Time
	known   map[string]podDisk // by uid
	imageFs *host.Usage
	taken   int64 // of limit
}

// Images tells what the images of the node take.
type Images interface {
	ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error)
}

// podDisk is what one Pod takes.
type podDisk struct {
	layers, logs map[string]host.Usage // by container
	volumes      []stats.VolumeStats
	ephemeral    host.Usage
}

// add adds the node's file system and what Pods take of it.
func (d *disks) add(ctx context.Context, out *stats.Summary) error {
	select {
	case d.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-d.busy }()
	if d.known == nil || d.clock.Since(d.at) >= diskPause || d.lacks(out) {
		if err := d.measure(ctx); err != nil {
			return err
		}
	}
	node, ok := d.filesystem()
	if !ok {
		return nil
	}
	out.Node.Fs = node
	if d.imageFs != nil {
		image := partOf(*node, *d.imageFs)
		out.Node.Runtime = &stats.RuntimeStats{ImageFs: image, ContainerFs: image}
	}
	for i := range out.Pods {
		p := &out.Pods[i]
		disk, ok := d.known[p.PodRef.UID]
		if !ok {
			continue
		}
		p.VolumeStats = disk.volumes
		p.EphemeralStorage = partOf(*node, disk.ephemeral)
		for j := range p.Containers {
			c := &p.Containers[j]
			if layer, ok := disk.layers[c.Name]; ok {
				c.Rootfs = partOf(*node, layer)
			}
			if logs, ok := disk.logs[c.Name]; ok {
				c.Logs = partOf(*node, logs)
			}
		}
	}
	return nil
}

// lacks tells whether there is a Pod that was not measured, and time has passed
// since something was.
func (d *disks) lacks(out *stats.Summary) bool {
	if d.clock.Since(d.at) < diskPause/6 {
		return false
	}
	for i := range out.Pods {
		if _, ok := d.known[out.Pods[i].PodRef.UID]; !ok {
			return true
		}
	}
	return false
}

// measure looks at everything.
func (d *disks) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, diskPatience)
	defer cancel()
	all, err := d.runtime.ListContainerStats(ctx, &runtimeapi.ContainerStatsFilter{})
	if err != nil {
		return fmt.Errorf("measure the writable layers: %w", err)
	}
	layers := map[string]map[string]host.Usage{}
	for _, st := range all {
		l, layer := st.GetAttributes().GetLabels(), st.GetWritableLayer()
		if layer == nil {
			continue
		}
		uid := l[spec.LabelPodUID]
		if layers[uid] == nil {
			layers[uid] = map[string]host.Usage{}
		}
		layers[uid][l[spec.LabelContainerName]] = host.Usage{Bytes: int64(layer.GetUsedBytes().GetValue()), Inodes: int64(layer.GetInodesUsed().GetValue())}
	}
	known := map[string]podDisk{}
	for _, pod := range d.pods.Pods() {
		known[string(pod.UID)] = d.pod(ctx, pod, layers[string(pod.UID)])
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	d.known, d.at = known, d.clock.Now()
	d.imageFs = d.ofImages(ctx)
	if d.limit > 0 {
		if d.taken, err = d.used(ctx); err != nil {
			d.log.Warn("what the node takes of the disk could not be measured in full", "error", err)
		}
	}
	return nil
}

// ofImages is what the images take; nil where nobody can tell.
func (d *disks) ofImages(ctx context.Context) *host.Usage {
	if d.images == nil {
		return nil
	}
	info, err := d.images.ImageFsInfo(ctx)
	if err != nil {
		d.log.Warn("what the images take of the disk could not be measured", "error", err)
		return nil
	}
	var u host.Usage
	for _, fs := range info.GetImageFilesystems() {
		u.Bytes += int64(fs.GetUsedBytes().GetValue())
		u.Inodes += int64(fs.GetInodesUsed().GetValue())
	}
	return &u
}

func (d *disks) pod(ctx context.Context, pod *v1.Pod, layers map[string]host.Usage) podDisk {
	out := podDisk{layers: layers, logs: map[string]host.Usage{}}
	add := func(u host.Usage) { out.ephemeral.Bytes += u.Bytes; out.ephemeral.Inodes += u.Inodes }
	for _, u := range layers {
		add(u)
	}
	for i := range pod.Status.ContainerStatuses {
		name := pod.Status.ContainerStatuses[i].Name
		n, _ := host.DiskUsage(ctx, filepath.Join(d.logDir, spec.LogDir(pod), name)) // logs come and go meanwhile
		out.logs[name] = n
		add(n)
	}
	if d.volumes == nil {
		return out
	}
	for _, v := range d.volumes.Stats(ctx, pod) {
		one := stats.VolumeStats{Name: v.Name, FsStats: stats.FsStats{
			Time: metav1.NewTime(d.clock.Now()), AvailableBytes: &v.Available, CapacityBytes: &v.Capacity, UsedBytes: &v.Used,
			Inodes: &v.Inodes, InodesFree: &v.InodesFree, InodesUsed: &v.InodesUsed,
		}}
		if v.Claim != "" {
			one.PVCRef = &stats.PVCReference{Namespace: pod.Namespace, Name: v.Claim}
		} else if v.OnDisk {
			add(host.Usage{Bytes: int64(v.Used), Inodes: int64(v.InodesUsed)})
		}
		out.volumes = append(out.volumes, one)
	}
	return out
}

// filesystem is the one that everything of the node is on, or what the node may have of it.
func (d *disks) filesystem() (*stats.FsStats, bool) {
	var fs syscall.Statfs_t
	if d.dir == "" || syscall.Statfs(d.dir, &fs) != nil {
		return nil, false
	}
	size := uint64(fs.Bsize)
	capacity, available, used, inodes := fs.Blocks*size, fs.Bavail*size, (fs.Blocks-fs.Bfree)*size, fs.Files-fs.Ffree
	if d.limit > 0 {
		used = uint64(d.taken)
		capacity, available = min(capacity, uint64(d.limit)), min(available, uint64(max(0, d.limit-d.taken)))
	}
	return &stats.FsStats{
		Time:           metav1.NewTime(d.clock.Now()),
		AvailableBytes: &available, CapacityBytes: &capacity, UsedBytes: &used,
		Inodes: &fs.Files, InodesFree: &fs.Ffree, InodesUsed: &inodes,
	}, true
}

// partOf is what something takes of a file system.
func partOf(fs stats.FsStats, u host.Usage) *stats.FsStats {
	bytes, inodes := uint64(u.Bytes), uint64(u.Inodes)
	fs.UsedBytes, fs.InodesUsed = &bytes, &inodes
	return &fs
}
