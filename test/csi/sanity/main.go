// Command sanity runs csi-sanity of github.com/kubernetes-csi/csi-test, the suite by
// which the makers of the Container Storage Interface tell a right driver, against the
// driver of test/csi, once with volumes that are mounted and once with block volumes. It
// fails if a spec fails.
//
// The driver mounts in a mount namespace of its own, which ends with it. It runs as
// root, by `make csi-sanity`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	suite := flag.String("suite", "build/csi/csi-sanity", "the suite's program")
	driver := flag.String("driver", "build/csi/driver", "the driver's program")
	inside := flag.Bool("inside", false, "this process is in the mount namespace already; the command starts itself so")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	do := again
	if *inside {
		do = run
	}
	if err := do(ctx, *suite, *driver); err != nil {
		fmt.Fprintln(os.Stderr, "csi-sanity:", err)
		os.Exit(1)
	}
}

// again starts this program in a mount namespace, whose mounts nobody else sees.
func again(ctx context.Context, suite, driver string) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-inside", "-suite", suite, "-driver", driver)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

func run(ctx context.Context, suite, driver string) (err error) {
	dir, err := os.MkdirTemp("", "csi-sanity-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, access := range []string{"mount", "block"} {
		if err := one(ctx, suite, driver, filepath.Join(dir, access), access); err != nil {
			return fmt.Errorf("volumes of the access type %s: %w", access, err)
		}
	}
	return nil
}

// one runs the suite against a driver that has nothing yet.
func one(ctx context.Context, suite, driver, dir, access string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	socket := filepath.Join(dir, "csi.sock")
	d := exec.CommandContext(ctx, driver, "-node=node-1", "-data="+filepath.Join(dir, "data"), "-socket="+socket)
	d.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var said strings.Builder
	d.Stdout, d.Stderr = &said, &said
	if err := d.Start(); err != nil {
		return err
	}
	defer func() {
		_ = d.Process.Signal(syscall.SIGTERM)
		_ = d.Wait()
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the driver does not serve at %s", socket)
		}
	}
	cmd := exec.CommandContext(ctx, suite, "--csi.endpoint="+socket,
		"--csi.mountdir="+filepath.Join(dir, "target"), "--csi.stagingdir="+filepath.Join(dir, "staging"),
		"--csi.testvolumesize=10485760", "--csi.testvolumeexpandsize=20971520", "--csi.testvolumeaccesstype="+access, "--ginkgo.no-color")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w; the driver says:\n%s", err, said.String())
	}
	return nothingLeft(filepath.Join(dir, "data"))
}

// nothingLeft looks whether the suite has deleted what it made, and the driver with it.
func nothingLeft(data string) error {
	for _, kind := range []string{"volumes", "snapshots"} {
		left, err := os.ReadDir(filepath.Join(data, kind))
		if err != nil {
			return err
		}
		if len(left) > 0 {
			return fmt.Errorf("the driver still has %s: %v", kind, left)
		}
	}
	return nil
}
