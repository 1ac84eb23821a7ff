package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NetnsDir is where iproute2 looks for named network namespaces.
const NetnsDir = "/run/netns"

// Netns is a network namespace, kept alive by a bind mount at Path.
// The zero value is the namespace of this process.
type Netns struct {
	Name string
	Path string
}

// NamedNetns returns the namespace that `ip netns exec NAME` enters,
// whether or not it exists.
func NamedNetns(name string) Netns {
	return Netns{Name: name, Path: filepath.Join(NetnsDir, name)}
}

// CreateNetns makes a namespace that `ip netns exec NAME` can enter, with its
// loopback interface up. One that exists already is returned as it is.
func CreateNetns(name string) (Netns, error) {
	if err := shareNetnsDir(NetnsDir); err != nil {
		return Netns{}, fmt.Errorf("create network namespace %s: %w", name, err)
	}
	ns, err := CreateNetnsAt(filepath.Join(NetnsDir, name))
	ns.Name = name
	return ns, err
}

// CreateNetnsAt is CreateNetns at a path of the caller's choice.
func CreateNetnsAt(path string) (Netns, error) {
	ns := Netns{Name: filepath.Base(path), Path: path}
	if ns.Exists() {
		return ns, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return ns, fmt.Errorf("create network namespace %s: %w", ns.Name, err)
	}
	f.Close()
	err = OnThrowAwayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := loopbackUp(); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, "")
	})
	if err != nil {
		os.Remove(path)
		return ns, fmt.Errorf("create network namespace %s: %w", ns.Name, err)
	}
	return ns, nil
}

// DeleteNetns drops the name of ns, also where a mount over its directory hides
// it; the kernel ends the namespace with its last process. One that does not
// exist is no error.
func DeleteNetns(ns Netns) error {
	if ns.Path == "" {
		return errors.New("delete network namespace: the process's own namespace has no name to delete")
	}
	if err := unmountLayers(ns.Path); err != nil {
		return fmt.Errorf("delete network namespace %s: %w", ns.Name, err)
	}
	err := os.Remove(ns.Path)
	if errors.Is(err, unix.EBUSY) {
		err = removeHidden(ns.Path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete network namespace %s: %w", ns.Name, err)
	}
	if filepath.Dir(ns.Path) == NetnsDir {
		if err := unshareNetnsDir(NetnsDir); err != nil {
			return fmt.Errorf("delete network namespace %s: %w", ns.Name, err)
		}
	}
	return nil
}

// Exists tells whether ns is mounted, not just named.
func (n Netns) Exists() bool {
	if n.Path == "" {
		return true
	}
	var st unix.Statfs_t
	return unix.Statfs(n.Path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// PutAt has path, where a network namespace is mounted, lead to ns in its place.
// What is in the other namespace stays there, and what opens path gets ns.
func (n Netns) PutAt(path string) error {
	if other := (Netns{Name: filepath.Base(path), Path: path}); path == "" || !other.Exists() {
		return fmt.Errorf("put network namespace %s at %s: no network namespace is mounted there", n.Name, path)
	}
	// Beneath the other, which goes then, so that path leads to one of the two at any
	// time.
	mount, err := cloneMount(unix.AT_FDCWD, n.Path, 0)
	if err == nil {
		defer mount.Close()
		err = unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH|moveMountBeneath)
	}
	if err != nil {
		return fmt.Errorf("put network namespace %s at %s: %w", n.Name, path, err)
	}
	return Unmount(path)
}

// moveMountBeneath is MOVE_MOUNT_BENEATH (move_mount(2), Linux 6.5).
const moveMountBeneath = 0x200

// Do runs fn on a thread inside the namespace. Goroutines that fn starts run
// outside of it, but sockets that fn opens belong to the namespace ever after.
func (n Netns) Do(fn func() error) error {
	if n.Path == "" {
		return fn()
	}
	target, err := netns.GetFromPath(n.Path)
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
	}
	defer target.Close()
	runtime.LockOSThread()
	origin, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
	}
	defer origin.Close()
	if err := netns.Set(target); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
	}
	defer func() {
		// A thread that can't go back stays locked, so that the Go runtime
		// ends it with this goroutine and never runs other code on it.
		if netns.Set(origin) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return fn()
}

// Listen opens a stream listener inside the namespace.
func (n Netns) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		var lc net.ListenConfig
		l, err = lc.Listen(ctx, network, address)
		return err
	})
	return l, err
}

// ListenPacket opens a packet socket inside the namespace.
func (n Netns) ListenPacket(ctx context.Context, network, address string) (c net.PacketConn, err error) {
	err = n.Do(func() error {
		var lc net.ListenConfig
		c, err = lc.ListenPacket(ctx, network, address)
		return err
	})
	return c, err
}

// DialContext connects from inside the namespace. The address must be an IP
// address: names would be resolved by goroutines outside of the namespace.
func (n Netns) DialContext(ctx context.Context, network, address string) (c net.Conn, err error) {
	if n.Path == "" {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	hostPart, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(hostPart) == nil {
		return nil, fmt.Errorf("dial %s from network namespace %s: only IP addresses can be dialled", address, n.Name)
	}
	// Fast fallback would dial from a second goroutine, outside the namespace.
	d := net.Dialer{FallbackDelay: -1}
	err = n.Do(func() error {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Handle opens a netlink handle inside the namespace; the caller closes it.
func (n Netns) Handle() (*netlink.Handle, error) {
	if n.Path == "" {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	target, err := netns.GetFromPath(n.Path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", n.Name, err)
	}
	defer target.Close()
	h, err := netlink.NewHandleAt(target, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in network namespace %s: %w", n.Name, err)
	}
	return h, nil
}

// loopbackUp sets lo up in the thread's namespace with one ioctl, which is
// cheaper than a netlink socket of its own.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOOPBACK)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}

// OnThrowAwayThread runs fn on a thread that ends afterwards, for changes that
// can't be undone on a thread of the Go runtime.
func OnThrowAwayThread(fn func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		errc <- fn()
	}()
	return <-errc
}
