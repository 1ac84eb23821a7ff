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

// socketsEvery is the pause between two looks for sockets of removed backends, if no backend was removed in between.
const socketsEvery = time.Minute

// Run does the periodic work of an open data plane until ctx ends: it keeps the fast path open, and destroys connected UDP
// sockets whose backend is gone. The kernel runs no program when such a socket sends, so its owner would send to the removed
// backend for ever.
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
				d.log.Warn("Deleted interfaces could not be removed from the fast path; that is tried again in a minute", "error", err)
			}
		}
		ended, err := d.endStaleSockets()
		if err != nil && !errors.Is(err, errClosed) {
			d.log.Warn("UDP sockets whose backend is gone could not all be destroyed; that is tried again in a minute", "error", err)
		}
		if ended > 0 {
			d.log.Info("Connected UDP sockets were destroyed because their backend is gone; their owners get ECONNABORTED", "sockets", ended)
		}
	}
}

// suspectSockets makes Run look for sockets of removed backends now.
func (d *DataPlane) suspectSockets() {
	select {
	case d.stale <- struct{}{}:
	default:
	}
}

// endStaleSockets destroys the sockets of removed backends in every network namespace that a process of the node is in. It
// returns their number.
func (d *DataPlane) endStaleSockets() (int, error) {
	table, isLive, err := d.socketTable()
	if err != nil {
		return 0, err
	}
	defer table.Close()
	connections := kernelTable[uint64, connection]{table}
	stale := false
	if err := connections.each(func(_ uint64, c connection) { stale = stale || !isLive(c.key()) }); err != nil {
		stale = true // an entry went while its successor was looked for
	}
	if !stale {
		return 0, nil // nearly always, and a node may have a hundred namespaces
	}
	namespaces, err := namespacesOf(d.cfg.Cgroup)
	if err != nil {
		return 0, err
	}
	ended, failures := 0, []error(nil)
	for _, ns := range namespaces {
		err := ns.Do(func() error {
			n, err := endSockets(connections, isLive)
			ended += n
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) { // the process may have ended since
			failures = append(failures, fmt.Errorf("sockets of %s: %w", ns.Path, err))
		}
	}
	return ended, errors.Join(failures...)
}

// socketTable returns the table of connected sockets, and whether a backend exists. The caller can use both without holding
// the lock, so that Services can be applied meanwhile.
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

// namespacesOf returns each network namespace of a cgroup's processes once.
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

const stateConnected = 1 // TCP_ESTABLISHED, which is the state of a connected UDP socket too

// socketID identifies a socket: struct inet_diag_sockid.
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

// Len and Serialize implement nl.NetlinkRequestData.
func (r diagRequest) Len() int { return binary.Size(r) }

func (r diagRequest) Serialize() []byte {
	out, err := binary.Append(nil, binary.NativeEndian, r)
	if err != nil {
		panic(err) // it has a fixed size
	}
	return out
}

// peer returns the address and port that the socket is connected to, as the tables have them.
func (id socketID) peer(family uint8) (address, port) {
	if family == unix.AF_INET6 {
		return id.Daddr, id.Dport
	}
	return addressOf(netip.AddrFrom4([4]byte(id.Daddr[:4]))), id.Dport
}

// endSockets destroys the connected UDP sockets of this thread's namespace whose backend is gone. A socket that uses the same
// address without a Service is not in the table, and is left alone.
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
				return ended, fmt.Errorf("destroy a UDP socket: %w", err)
			}
			ended++
		}
	}
	return ended, nil
}

// isStale tells whether the socket is connected to the backend that a Service gave it, and that backend is gone.
func isStale(t kernelTable[uint64, connection], id socketID, family uint8, isLive func(backendKey) bool) bool {
	var c connection
	if t.m.Lookup(uint64(id.Cookie[1])<<32|uint64(id.Cookie[0]), &c) != nil {
		return false
	}
	addr, port := id.peer(family)
	return addr == c.Backend && port == c.Port && !isLive(c.key())
}

func (c connection) key() backendKey {
	return backendKey{Addr: c.Backend, Port: c.Port, Proto: protoUDP}
}

func destroy(id socketID, family uint8) error {
	r := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	r.AddData(diagRequest{Family: family, Protocol: unix.IPPROTO_UDP, States: 1 << stateConnected, ID: id})
	_, err := r.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}

// parseSocket reads the socket of a message of the kernel: struct inet_diag_msg.
func parseSocket(message []byte) (id socketID, ok bool) {
	const header = 4 // family, state, timer, retransmissions
	if len(message) < header {
		return id, false
	}
	_, err := binary.Decode(message[header:], binary.NativeEndian, &id)
	return id, err == nil
}
