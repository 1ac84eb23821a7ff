// Package logind holds a shutdown of the machine back, by systemd-logind's inhibitor locks over D-Bus' system bus,
// until what has to end first has ended. It knows no cluster; it asks logind for nothing but a delay.
package logind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Names of logind's interface (org.freedesktop.login1(5)).
const (
	service = "org.freedesktop.login1"
	manager = service + ".Manager"
	path    = dbus.ObjectPath("/org/freedesktop/login1")
	bus     = "org.freedesktop.DBus"
)

// ErrNone says that the machine has no logind, and so nobody that would wait.
var ErrNone = errors.New("no systemd-logind answers on the machine's D-Bus")

// Config says who holds a shutdown back, and what to do in the meantime.
type Config struct {
	// Who and Why are shown by systemd-inhibit(1).
	Who, Why string
	// Held is told once the machine waits, and for how long it would at most (InhibitDelayMaxSec= in
	// logind.conf(5)).
	Held func(atMost time.Duration)
	// ShuttingDown is called when the machine begins to shut down. The machine waits until the process ends, but not
	// longer than atMost. It must not block.
	ShuttingDown func(atMost time.Duration)
	// Address is that of the bus; empty means the machine's.
	Address string
}

// Run holds shutdowns back until ctx ends. It fails with [ErrNone] on a machine without logind, and with another error
// when logind or the bus goes away; it can then be run again.
func Run(ctx context.Context, cfg Config) error {
	conn, err := open(ctx, cfg.Address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchObjectPath(path), dbus.WithMatchInterface(manager), dbus.WithMatchMember("PrepareForShutdown")); err != nil {
		return fmt.Errorf("follow logind: %w", err)
	}
	if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(bus), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, service)); err != nil {
		return fmt.Errorf("follow logind: %w", err)
	}
	atMost, err := longest(conn)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	lock, err := inhibit(ctx, conn, cfg)
	if err != nil {
		return err
	}
	if cfg.Held != nil {
		cfg.Held(atMost)
	}
	return follow(ctx, signals, lock, atMost, cfg)
}

// follow waits for a shutdown. The lock is given back when ctx ends before, or with the process.
func follow(ctx context.Context, signals <-chan *dbus.Signal, lock dbus.UnixFD, atMost time.Duration, cfg Config) error {
	begun := false
	defer func() {
		if !begun {
			unix.Close(int(lock))
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s, ok := <-signals:
			switch {
			case !ok:
				return errors.New("the connection to D-Bus has ended")
			case s.Name == bus+".NameOwnerChanged":
				return errors.New("logind has ended or begun again, and knows of no lock")
			case s.Name == manager+".PrepareForShutdown" && !begun && len(s.Body) == 1 && s.Body[0] == true:
				begun = true
				cfg.ShuttingDown(atMost)
			}
		}
	}
}

// machineBus is where the bus of a machine is (dbus-daemon(1)).
const machineBus = "unix:path=/run/dbus/system_bus_socket"

func open(ctx context.Context, address string) (*dbus.Conn, error) {
	if address == "" {
		address = machineBus
		if named := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); named != "" {
			address = named
		}
	}
	return dbus.Connect(address, dbus.WithContext(ctx))
}

// longest is for how long logind lets a shutdown be held back.
func longest(conn *dbus.Conn) (time.Duration, error) {
	v, err := conn.Object(service, path).GetProperty(manager + ".InhibitDelayMaxUSec")
	if err != nil {
		return 0, err
	}
	micros, ok := v.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("logind's InhibitDelayMaxUSec is %s, no number", v)
	}
	const most = uint64(24 * time.Hour / time.Microsecond) // "infinity" is the largest number there is
	return time.Duration(min(micros, most)) * time.Microsecond, nil
}

// inhibit takes the lock, which lasts for as long as the descriptor is open. It is no os.File: the collector of garbage
// would close one that nobody refers to any more, and it has to stay open until the process ends.
func inhibit(ctx context.Context, conn *dbus.Conn, cfg Config) (lock dbus.UnixFD, err error) {
	err = conn.Object(service, path).CallWithContext(ctx, manager+".Inhibit", 0, "shutdown", cfg.Who, cfg.Why, "delay").Store(&lock)
	if err != nil {
		return 0, fmt.Errorf("have logind hold shutdowns back: %w", err)
	}
	return lock, nil
}
