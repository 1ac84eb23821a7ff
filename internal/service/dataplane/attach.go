package dataplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// socketPrograms are attached to the node's cgroup.
var socketPrograms = map[string]ebpf.AttachType{
	"connect4":     ebpf.AttachCGroupInet4Connect,
	"connect6":     ebpf.AttachCGroupInet6Connect,
	"sendmsg4":     ebpf.AttachCGroupUDP4Sendmsg,
	"sendmsg6":     ebpf.AttachCGroupUDP6Sendmsg,
	"recvmsg4":     ebpf.AttachCGroupUDP4Recvmsg,
	"recvmsg6":     ebpf.AttachCGroupUDP6Recvmsg,
	"post_bind4":   ebpf.AttachCGroupInet4PostBind,
	"post_bind6":   ebpf.AttachCGroupInet6PostBind,
	"getpeername4": ebpf.AttachCgroupInet4GetPeername,
	"getpeername6": ebpf.AttachCgroupInet6GetPeername,
	"sock_release": ebpf.AttachCgroupInetSockRelease,
}

// attach attaches all programs, except to the interfaces of Pods that start later.
func (d *DataPlane) attach(in injection) error {
	indices := append([]int{in.index, loopbackIndex}, in.uplinks...)
	if !in.fresh && !d.cfg.AllLinks {
		// The interfaces of running Pods still have the programs of an earlier process: replace those.
		links, err := filtered(d.links, inbound)
		if err != nil {
			return err
		}
		for _, l := range links {
			indices = append(indices, l.Attrs().Index)
			if l.Attrs().Index == in.index || l.Attrs().Index == loopbackIndex {
				continue
			}
			if err := d.addExit(l); err != nil {
				return err
			}
		}
	}
	for _, index := range indices {
		if err := d.attachAnew(index, inbound); err != nil {
			return err
		}
	}
	uplinks, err := d.uplinks()
	if err != nil {
		return err
	}
	for _, l := range uplinks {
		if err := errors.Join(d.attachAnew(l.Attrs().Index, outbound), d.addExit(l)); err != nil {
			return err
		}
	}
	if d.cfg.AllLinks {
		if err := d.attachLinks(); err != nil {
			return err
		}
	}
	return d.attachSockets()
}

func (d *DataPlane) attachPackets(index int, dir direction) error {
	for _, ipv6 := range []bool{false, true} {
		p := d.collection.Programs[programFor(dir, ipv6)]
		if p == nil {
			continue // the cluster does not have the family
		}
		if err := setFilter(d.links, index, dir, ipv6, p.FD()); err != nil {
			return fmt.Errorf("attach to interface %d of node %s: %w", index, d.cfg.NodeName, err)
		}
	}
	return nil
}

// attachAnew is attachPackets for an interface that may have programs of an earlier process.
func (d *DataPlane) attachAnew(index int, dir direction) error {
	if err := d.attachPackets(index, dir); err != nil {
		return err
	}
	if err := removeEarlierFilters(d.links, index, dir); err != nil {
		return fmt.Errorf("interface %d of node %s: %w", index, d.cfg.NodeName, err)
	}
	return nil
}

// AttachPod attaches the packet programs to the end of a Pod's interface that is in the node's namespace.
func (d *DataPlane) AttachPod(ifname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return fmt.Errorf("attach pod interface %s: %w", ifname, errClosed)
	}
	l, err := d.links.LinkByName(ifname)
	if err != nil {
		return fmt.Errorf("attach pod interface %s on node %s: %w", ifname, d.cfg.NodeName, err)
	}
	return errors.Join(d.attachPackets(l.Attrs().Index, inbound), d.addExit(l))
}

func (d *DataPlane) attachSockets() error {
	dir := d.cfg.Cgroup.V2()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("cgroup %s: %w", dir, err)
	}
	for program, at := range socketPrograms {
		pin := filepath.Join(d.linkDir(), program)
		renewed, err := d.renew(pin, program, st.Ino)
		if err != nil {
			return err
		}
		if renewed {
			continue
		}
		if err := d.attachSocket(dir, pin, program, at); err != nil {
			return err
		}
	}
	return nil
}

func (d *DataPlane) attachSocket(dir, pin, program string, at ebpf.AttachType) error {
	l, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: at, Program: d.collection.Programs[program]})
	if err != nil {
		return fmt.Errorf("attach %s to cgroup %s: %w", program, dir, err)
	}
	defer l.Close()
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin link of %s: %w", program, err)
	}
	return nil
}

// renew updates a link that an earlier process pinned to the program just loaded. It returns false if there is no such link,
// or if the link is of a deleted cgroup of the same name, and then removes its pin.
func (d *DataPlane) renew(pin, program string, cgroup uint64) (bool, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open pinned link of %s: %w", program, err)
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return false, fmt.Errorf("read pinned link of %s: %w", program, err)
	}
	if cg := info.Cgroup(); cg == nil || cg.CgroupId != cgroup {
		if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, fmt.Errorf("remove pinned link of %s: %w", program, err)
		}
		return false, nil
	}
	if err := l.Update(d.collection.Programs[program]); err != nil {
		return false, fmt.Errorf("update program of pinned link of %s: %w", program, err)
	}
	return true, nil
}
