package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"minato/bench/lab"
)

const (
	nodeName = "node"
	// endpoints of each Service.
	endpoints = 3
)

// Numbers of the servers.
const (
	first  = 1
	second = 2
)

type bench struct {
	options
	api    *lab.API
	target *lab.Service
}

func server(id byte) netip.AddrPort {
	if id == first {
		return netip.AddrPortFrom(lab.ServerIP, lab.ServerPort)
	}
	return netip.AddrPortFrom(lab.OtherIP, lab.ServerPort)
}

func (b *bench) makeTarget(ctx context.Context) error {
	b.target = &lab.Service{
		Namespace: "default", Name: "target", IP: netip.MustParseAddr("10.96.5.1"), Endpoints: []netip.AddrPort{server(first)},
	}
	return b.api.Create(ctx, b.target)
}

func (b *bench) frontend() netip.AddrPort { return netip.AddrPortFrom(b.target.IP, lab.Port) }

// measure lets a proxy load n Services from nothing, some times over, and then
// follow changes.
func (b *bench) measure(ctx context.Context, system lab.System, n, loads int) (run, error) {
	r := run{System: system.Name, Services: n}
	for i := range loads {
		if err := b.once(ctx, system, &r, i == loads-1); err != nil {
			return r, err
		}
	}
	r.summarize()
	if r.Late != "" {
		return r, nil
	}
	lab.Progress("%s, %d Services: loaded in %.2f s, %.1f MiB; changes: p50 %.1f ms, p99 %.1f ms", r.System, n, r.LoadSeconds, mib(r.Memory.Total()), r.P50, r.P99)
	return r, nil
}

// once is one load in a world of its own; in the last one, changes follow.
func (b *bench) once(ctx context.Context, system lab.System, r *run, last bool) (err error) {
	w, err := lab.NewWorld(nodeName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	stop, err := b.api.Relay(ctx, w)
	if err != nil {
		return err
	}
	defer stop()
	if err := errors.Join(w.Serve(w.Server, server(first), first, -1), w.Serve(w.Other, server(second), second, -1)); err != nil {
		return err
	}
	client, err := w.InsideClient(-1)
	if err != nil {
		return err
	}
	to := append(lab.Samples(r.Services-1), b.frontend())
	began := lab.Now()
	p, err := system.Start(ctx, w, b.api)
	if err != nil {
		return err
	}
	defer p.Stop()
	at, err := client.Await(ctx, b.patience, to...)
	if errors.Is(err, lab.ErrLate) {
		lab.Progress("%s, %d Services: %v", r.System, r.Services, err)
		r.Late = b.patience.String()
		return nil
	}
	if err != nil {
		return err
	}
	r.loads = append(r.loads, (at - began).Seconds())
	r.cpu = append(r.cpu, p.CPU().Seconds())
	if !last {
		return nil
	}
	select {
	case <-time.After(b.settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.Memory, err = w.Memory(); err != nil {
		return err
	}
	return b.follow(ctx, client, r)
}

// follow changes the target's endpoint and waits for connections to follow.
func (b *bench) follow(ctx context.Context, client *lab.Client, r *run) error {
	pause := rand.New(rand.NewPCG(1, 2))
	for began := time.Now(); len(r.follow) < b.changes && (time.Since(began) < b.budget || len(r.follow) < 5); {
		id := byte(first)
		if b.target.Endpoints[0] == server(first) {
			id = second
		}
		b.target.Endpoints = []netip.AddrPort{server(id)}
		type outcome struct {
			lab.Result
			err error
		}
		done := make(chan outcome, 1)
		go func() {
			res, err := client.Do(ctx, lab.Order{Kind: lab.Follow, To: []netip.AddrPort{b.frontend()}, ID: id, For: b.patience})
			done <- outcome{res, err}
		}()
		// At no fixed distance, so that no period of anything is hit or missed each time.
		time.Sleep(time.Duration(5+pause.IntN(20)) * time.Millisecond)
		start := lab.Now()
		if err := b.api.Replace(ctx, b.target); err != nil {
			return err
		}
		written := lab.Now()
		res := <-done
		if res.err != nil {
			return res.err
		}
		r.follow = append(r.follow, millis(res.At-start))
		r.write = append(r.write, millis(written-start))
	}
	return nil
}

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }
