package dataplane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// socketsEvery bounds how long a socket of a backend that is gone may escape notice.
const socketsEvery = time.Minute

// Run does what goes on while the data plane is open, until ctx ends: it keeps the shortcut of translated packets open
// and ends connected UDP sockets whose backend is gone. Such a socket names its peer once and then writes without any
// program being asked, so nothing else would ever tell its owner.
func (d *DataPlane) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.keepShortcut(ctx) })
	d.keepSockets(ctx)
	return nil
}

func (d *DataPlane) keepSockets(ctx context.Context) {
	tick := time.NewTicker(socketsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.stale:
		case <-tick.C:
			d.pruneCounters()
			if err := d.pruneExits(); err != nil && !errors.Is(err, errClosed) {
				d.log.Warn("Interfaces that are gone are kept until the next look", "error", err)
			}
		}
		ended, err := d.endStaleSockets()
		if err != nil && !errors.Is(err, errClosed) {
			d.log.Warn("Sockets whose backend is gone may be left until the next look", "error", err)
		}
		if ended > 0 {
			d.log.Info("Connected UDP sockets whose backend is gone were ended", "sockets", ended)
		}
	}
}

// suspectSockets makes Run look at all sockets soon.
func (d *DataPlane) suspectSockets() {
	select {
	case d.stale <- struct{}{}:
	default:
	}
}

// endStaleSockets looks through every network namespace that a process of the node works in.
func (d *DataPlane) endStaleSockets() (int, error) {
	table, isLive, err := d.socketTable()
	if err != nil {
		return 0, err
	}
	defer table.Close()
	namespaces, err := namespacesOf(d.cfg.Cgroup)
	if err != nil {
		return 0, err
	}
	ended, failures := 0, []error(nil)
	for _, ns := range namespaces {
		err := ns.Do(func() error {
			n, err := endSockets(kernelTable[uint64, connection]{table}, isLive)
			ended += n
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) { // the process may have ended since
			failures = append(failures, fmt.Errorf("sockets of %s: %w", ns.Path, err))
		}
	}
	return ended, errors.Join(failures...)
}

// socketTable returns what the look needs, so that it need not keep Services from being applied.
func (d *DataPlane) socketTable() (*ebpf.Map, func(backendKey) bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return nil, nil, errClosed
	}
	table, err := d.collection.Maps["connections"].Clone()
	if err != nil {
		return nil, nil, fmt.Errorf("open the table of connected sockets: %w", err)
	}
	return table, d.reconciler.isLive, nil
}

// namespacesOf finds each network namespace once, by one of its processes.
func namespacesOf(cgroup host.Cgroup) ([]host.Netns, error) {
	pids, err := cgroup.Procs()
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup %s: %w", cgroup.Path, err)
	}
	var out []host.Netns
	seen := map[uint64]bool{}
	for _, pid := range pids {
		path := "/proc/" + strconv.Itoa(pid) + "/ns/net"
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || seen[st.Ino] {
			continue
		}
		seen[st.Ino] = true
		out = append(out, host.Netns{Path: path})
	}
	return out, nil
}

const stateConnected = 1 // the kernel calls a connected UDP socket established

// socketID names a socket to the kernel, as it was named by it.
type socketID struct {
	Sport, Dport port
	Saddr, Daddr [16]byte
	Interface    uint32
	Cookie       [2]uint32
}

type diagRequest struct {
	Family, Protocol, Extensions, Pad uint8
	States                            uint32
	ID                                socketID
}

// Len and Serialize make it a netlink payload.
func (r diagRequest) Len() int { return binary.Size(r) }

func (r diagRequest) Serialize() []byte {
	out, err := binary.Append(nil, binary.NativeEndian, r)
	if err != nil {
		panic(err) // it has a fixed size
	}
	return out
}

// peer is the other end, an IPv4 one in the notation of the tables.
func (id socketID) peer(family uint8) (address, port) {
	if family == unix.AF_INET6 {
		return id.Daddr, id.Dport
	}
	return addressOf(netip.AddrFrom4([4]byte(id.Daddr[:4]))), id.Dport
}

// endSockets ends the connected UDP sockets of this thread's namespace whose backend does not live. One that talks to
// the same address without a Service is in no table, and left alone.
func endSockets(t kernelTable[uint64, connection], isLive func(backendKey) bool) (int, error) {
	ended := 0
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		dump := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		dump.AddData(diagRequest{Family: family, Protocol: unix.IPPROTO_UDP, States: 1 << stateConnected})
		messages, err := dump.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		if err != nil {
			return ended, fmt.Errorf("list UDP sockets: %w", err)
		}
		for _, m := range messages {
			id, ok := parseSocket(m)
			if !ok || !isStale(t, id, family, isLive) {
				continue
			}
			err := destroy(id, family)
			if errors.Is(err, unix.ENOENT) {
				continue // closed in the meantime
			}
			if err != nil {
				return ended, fmt.Errorf("end a UDP socket: %w", err)
			}
			ended++
		}
	}
	return ended, nil
}

// isStale tells whether the socket is still connected to what a Service gave it, and that is gone.
func isStale(t kernelTable[uint64, connection], id socketID, family uint8, isLive func(backendKey) bool) bool {
	var c connection
	if t.m.Lookup(uint64(id.Cookie[1])<<32|uint64(id.Cookie[0]), &c) != nil {
		return false
	}
	addr, port := id.peer(family)
	return addr == c.Backend && port == c.Port && !isLive(backendKey{Addr: addr, Port: port, Proto: protoUDP})
}

func destroy(id socketID, family uint8) error {
	r := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	r.AddData(diagRequest{Family: family, Protocol: unix.IPPROTO_UDP, States: 1 << stateConnected, ID: id})
	_, err := r.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}

// parseSocket reads which socket a message of the kernel is about.
func parseSocket(message []byte) (id socketID, ok bool) {
	const header = 4 // family, state, timer, retransmissions
	if len(message) < header {
		return id, false
	}
	_, err := binary.Decode(message[header:], binary.NativeEndian, &id)
	return id, err == nil
}
