package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideVariable tells a process that it has the namespaces.
const insideVariable = "MINATO_BENCH_INSIDE"

// memory is where files are in memory; the namespace has one of its own.
const memory = "/dev/shm"

// enter runs the command again with a network and processes of its own: when the first of them ends, the kernel ends all.
func enter(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	runtime.LockOSThread() // the signal comes when the thread ends
	return cmd.Run()
}

// arrange makes the namespaces usable. It returns a directory in memory that is gone with them.
func arrange() (string, error) {
	for _, m := range []struct {
		from, to, kind string
		flags          uintptr
	}{{"", "/", "", unix.MS_REC | unix.MS_PRIVATE}, {"proc", "/proc", "proc", 0}, {"tmpfs", memory, "tmpfs", 0}} {
		if err := unix.Mount(m.from, m.to, m.kind, m.flags, ""); err != nil {
			return "", fmt.Errorf("mount %s: %w", m.to, err)
		}
	}
	if err := loopbackUp(); err != nil {
		return "", err
	}
	// wrk names in the handshake the host that it connects to.
	hosts := filepath.Join(memory, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+hostOf("ecdsa")+"\n"), 0o644); err != nil {
		return "", err
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("mount /etc/hosts: %w", err)
	}
	for name, value := range map[string]string{
		"net/ipv4/ip_local_port_range": "10000 65000", "net/core/somaxconn": "4096", "net/ipv4/tcp_max_syn_backlog": "4096",
	} {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return "", err
		}
	}
	return memory, nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOOPBACK)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set the loopback interface up: %w", err)
	}
	return nil
}
