package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"minato/bench/lab"
)

// machine is a computer on the cluster's LAN that is no node: a network namespace
// with a wire to the bridge, in which this program runs in a role.
type machine struct {
	name    string // of the namespace
	link    string // the wire's end at the bridge
	address netip.Prefix

	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan []byte // that it said
}

func (m *machine) make(ctx context.Context) error {
	steps := [][]string{
		{"netns", "add", m.name},
		{"link", "add", m.link, "type", "veth", "peer", "name", "eth0", "netns", m.name},
		{"-n", m.name, "address", "add", m.address.String(), "dev", "eth0"},
		{"-n", m.name, "link", "set", "lo", "up"},
		{"-n", m.name, "link", "set", "eth0", "up"},
	}
	for _, args := range steps {
		if _, err := lab.Command(ctx, nil, "ip", args...); err != nil {
			return err
		}
	}
	if err := m.plug(ctx); err != nil {
		return err
	}
	return m.start()
}

// plug connects it with the bridge, also with the one of a cluster that was started again.
func (m *machine) plug(ctx context.Context) error {
	_, err := lab.Command(ctx, nil, "ip", "link", "set", m.link, "master", bridge, "up")
	return err
}

// remove is fine with none.
func (m *machine) remove(ctx context.Context) error {
	m.stop()
	if _, err := os.Stat("/run/netns/" + m.name); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat("/sys/class/net/" + m.link); err == nil {
		if _, err := lab.Command(ctx, nil, "ip", "link", "delete", m.link); err != nil {
			return err
		}
	}
	_, err := lab.Command(ctx, nil, "ip", "netns", "delete", m.name)
	return err
}

// start runs this program in the namespace. It ends when its input does, and so with this process at the latest.
func (m *machine) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	m.cmd = exec.Command("ip", "netns", "exec", m.name, self, roleArgument)
	m.cmd.Stderr = os.Stderr
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start in %s: %w", m.name, err)
	}
	m.lines = make(chan []byte, 4096)
	go func() {
		defer close(m.lines)
		for r := bufio.NewReaderSize(out, 1<<20); ; {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			m.lines <- line
		}
	}()
	return nil
}

func (m *machine) stop() {
	if m.cmd == nil || m.cmd.Process == nil {
		return
	}
	m.in.Close()
	for range m.lines { // until it has ended
	}
	_ = m.cmd.Wait() // how it ended was told by what it printed
	m.cmd = nil
}

// tell gives an order.
func (m *machine) tell(o order) error {
	data, err := json.Marshal(o)
	if err == nil {
		_, err = m.in.Write(append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("order to %s: %w", m.name, err)
	}
	return nil
}

// hear reads what the machine says next.
func (m *machine) hear(ctx context.Context, into any) error {
	select {
	case line, open := <-m.lines:
		if !open {
			return fmt.Errorf("the process in %s has ended", m.name)
		}
		return json.Unmarshal(line, into)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask gives an order and reads its answer.
func (m *machine) ask(ctx context.Context, o order, into any) error {
	if err := m.tell(o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime+o.For)
	defer cancel()
	return m.hear(ctx, into)
}

// answerTime is for an answer from this machine's own process.
const answerTime = 30 * time.Second
