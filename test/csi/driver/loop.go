package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// findLoop returns the loop device of a file, empty if it has none.
func findLoop(file string) (string, error) {
	var want unix.Stat_t
	if err := unix.Stat(file, &want); err != nil {
		return "", err
	}
	devices, err := filepath.Glob("/dev/loop[0-9]*")
	if err != nil {
		return "", err
	}
	for _, device := range devices {
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
		f.Close()
		if err != nil {
			continue // it has no file
		}
		if info.Device == want.Dev && info.Inode == want.Ino {
			return device, nil
		}
	}
	return "", nil
}

// attachLoop returns the loop device of a file, which is made.
func attachLoop(file string) (string, error) {
	if have, err := findLoop(file); have != "" || err != nil {
		return have, err
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	back, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer back.Close()
	for range 50 { // others look for free devices as well
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", err
		}
		device := fmt.Sprintf("/dev/loop%d", n)
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		config := unix.LoopConfig{Fd: uint32(back.Fd())}
		err = unix.IoctlLoopConfigure(int(f.Fd()), &config)
		f.Close()
		if err == nil {
			return device, nil
		}
		if err != unix.EBUSY {
			return "", err
		}
	}
	return "", fmt.Errorf("no loop device is free for %s", file)
}

func detachLoop(file string) error {
	device, err := findLoop(file)
	if device == "" || err != nil {
		return err
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = unix.IoctlRetInt(int(f.Fd()), unix.LOOP_CLR_FD)
	return err
}

// growLoop has a loop device take in that its file has grown.
func growLoop(file string, size int64) error {
	if err := os.Truncate(file, size); err != nil {
		return err
	}
	device, err := findLoop(file)
	if device == "" || err != nil {
		return err
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = unix.IoctlRetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY)
	return err
}
