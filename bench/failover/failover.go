package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"minato/bench/lab"
)

// How long a load goes on beside the events that it is made for.
const (
	warmUp    = time.Second
	quiet     = time.Second      // without a failure, for connections to work again
	returning = 6 * time.Second  // after a node came back
	lastWord  = 15 * time.Second // for held connections to turn out cut or alive: their retransmissions come ever later
)

// failovers loses the announcing node again and again, by system in turn.
func (c *cluster) failovers(ctx context.Context, res *result, ways ...way) error {
	for _, w := range ways {
		for i := range c.runs[w] {
			for _, s := range c.systems {
				r, err := c.failover(ctx, s, w)
				if err != nil {
					return fmt.Errorf("%s, %s, run %d: %w", s.name, w, i+1, err)
				}
				lab.Progress("%s, %d of %d, %s: %s", w, i+1, c.runs[w], s.name, r)
				res.Runs = append(res.Runs, r)
			}
		}
	}
	return nil
}

// failover loses a system's announcing node once, and brings it back.
func (c *cluster) failover(ctx context.Context, s *system, w way) (run, error) {
	r := run{System: s.name, Way: w}
	var err error
	if r.Node, err = c.stage(ctx, s); err != nil {
		return r, err
	}
	began, err := c.kill(ctx, w, r.Node)
	if err != nil {
		return r, err
	}
	over, err := c.recovered(ctx, began)
	r.InTime = err == nil
	load, err := c.stopLoad(ctx)
	if err != nil {
		return r, err
	}
	r.count(load, began, over, c.patience)
	if err := ctx.Err(); err != nil {
		return r, err
	}
	// The way back is looked at with connections through all nodes but that one.
	if w != interfaceGone && r.InTime {
		if err := c.prepareLoad(ctx, s); err != nil {
			return r, err
		}
	}
	back := time.Now()
	if err := c.restore(ctx, w, r.Node); err != nil {
		return r, err
	}
	if w == interfaceGone || !r.InTime {
		return r, nil
	}
	select {
	case <-time.After(returning):
	case <-ctx.Done():
	}
	if load, err = c.stopLoad(ctx); err != nil {
		return r, err
	}
	r.Return = disturbance(load, back, "")
	return r, nil
}

// stage returns when a load goes on by way of the node that answers for the
// system's address, and names it.
func (c *cluster) stage(ctx context.Context, s *system) (string, error) {
	var node, user string
	for range 3 {
		for _, each := range c.systems { // also the other one must have got over the last run
			at, err := c.announcer(ctx, each)
			if err != nil {
				return "", err
			}
			if each == s {
				node = at
			}
		}
		// What the client learned from the last run is no matter of this one: it asks anew.
		if _, err := lab.Command(ctx, nil, "ip", "-n", c.client.name, "neigh", "flush", "dev", "eth0"); err != nil {
			return "", err
		}
		if err := c.prepare(ctx, s, node); err != nil {
			return "", err
		}
		var err error
		if user, err = c.sendsTo(ctx, s); err != nil {
			return "", err
		}
		if user == node {
			return node, nil
		}
		if _, err := c.stopLoad(ctx); err != nil { // the address moved meanwhile
			return "", err
		}
	}
	return "", fmt.Errorf("%s answers for %s, and clients still send to %s", node, s.address, user)
}

// prepare makes a load whose connections end at nodes that will live, as far as
// the policy lets it, and returns when it goes on without a failure.
func (c *cluster) prepare(ctx context.Context, s *system, victim string) error {
	nodes := c.nodeNames()
	if c.policy == "Cluster" {
		nodes = slices.DeleteFunc(nodes, func(n string) bool { return n == victim })
	}
	if err := c.serveFrom(ctx, s, nodes); err != nil {
		return err
	}
	if c.policy == "Cluster" {
		// A look first, so that no held connection is to a Pod that serves no more.
		if err := c.startLoad(ctx, s, 0); err != nil {
			return err
		}
		err := c.await(ctx, "connections' going to "+fmt.Sprint(nodes)+" alone", func(ctx context.Context) (bool, error) {
			v, err := c.look(ctx)
			return err == nil && slices.Equal(slices.Sorted(maps.Keys(v.Recent)), nodes), err
		})
		if _, stopErr := c.stopLoad(ctx); err == nil {
			err = stopErr
		}
		if err != nil {
			return err
		}
	}
	return c.prepareLoad(ctx, s)
}

// prepareLoad starts the load and returns when it goes on without a failure.
func (c *cluster) prepareLoad(ctx context.Context, s *system) error {
	if err := c.startLoad(ctx, s, c.hold); err != nil {
		return err
	}
	began := time.Now()
	return c.await(ctx, "a load's going on without failures", func(ctx context.Context) (bool, error) {
		v, err := c.look(ctx)
		if err != nil {
			return false, err
		}
		if v.LastFailure.After(began) {
			began = v.LastFailure
			err = fmt.Errorf("a connection failed: %s", v.Failure)
		}
		if v.Held < c.hold {
			err = fmt.Errorf("%d of %d connections are held: %s", v.Held, c.hold, v.Cut)
		}
		return err == nil && time.Since(began) > warmUp, err
	})
}

// recovered returns when connections work again and it is plain which held ones live. over is when the former was plain.
func (c *cluster) recovered(ctx context.Context, began time.Time) (over time.Time, err error) {
	err = c.await(ctx, "recovery", func(ctx context.Context) (bool, error) {
		v, err := c.look(ctx)
		if err != nil {
			return false, err
		}
		// An attempt that is under way may still fail.
		last := began
		if v.LastFailure.After(last) {
			last = v.LastFailure
		}
		return time.Since(last) > quiet+attemptLimit && len(v.Recent) > 0, nil
	})
	if err != nil {
		return over, err
	}
	over = time.Now()
	end := over.Add(lastWord)
	return over, c.await(ctx, "the held connections' end", func(ctx context.Context) (bool, error) {
		v, err := c.look(ctx)
		return err == nil && (v.Waiting == 0 || time.Now().After(end)), err
	})
}

func (c *cluster) startLoad(ctx context.Context, s *system, hold int) error {
	to := netip.AddrPortFrom(s.address, servicePort)
	return c.client.ask(ctx, order{Do: startLoad, To: to, Rate: c.rate, Hold: hold}, &struct{}{})
}

func (c *cluster) look(ctx context.Context) (view, error) {
	var v view
	err := c.client.ask(ctx, order{Do: lookAt}, &v)
	return v, err
}

func (c *cluster) stopLoad(ctx context.Context) (loadResult, error) {
	var r loadResult
	err := c.client.ask(ctx, order{Do: stopLoad}, &r)
	return r, err
}
