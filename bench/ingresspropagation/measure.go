package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"minato/bench/lab"
)

// The kinds of edits.
const (
	created = "Ingress created"
	edited  = "Ingress edited"
	deleted = "Ingress deleted"
	moved   = "EndpointSlice edited"
)

func kinds() []string { return []string{created, edited, deleted, moved} }

// measure adds routes until there are n, edits some and reads the proxies' memory.
func (c *cluster) measure(ctx context.Context, n int) (size, error) {
	s := size{Routes: n}
	if err := c.fill(ctx, &s); err != nil {
		return s, err
	}
	for _, edits := range []func(context.Context, *size, int) error{c.editIngresses, c.editEndpoints} {
		for i := range c.edits {
			if err := edits(ctx, &s, i); err != nil {
				return s, fmt.Errorf("edit %d: %w", i+1, err)
			}
		}
	}
	s.sumUp()
	if err := lab.Sleep(ctx, c.settle); err != nil {
		return s, err
	}
	var err error
	if s.Memory, err = proxyMemory(c.name); err != nil {
		return s, err
	}
	if len(s.Memory) != c.nodes {
		return s, fmt.Errorf("%d nodes have %d processes of proxies", c.nodes, len(s.Memory))
	}
	lab.Progress("%d routes: edits and memory are measured", n)
	return s, nil
}

// fill makes the routes that are missing, waits until everything about them is done, and sees that each is served.
func (c *cluster) fill(ctx context.Context, s *size) error {
	began := time.Now()
	was := c.routes
	s.Added = s.Routes - was
	err := lab.Each(ctx, was, s.Routes, func(ctx context.Context, i int) error { return c.makeRoute(ctx, routeName(i), c.service(i)) })
	if err != nil {
		return err
	}
	c.routes = s.Routes
	s.Made = time.Since(began).Seconds()
	last := max(was, s.Routes-lab.Workers) // those that may have been made last
	if err := c.serve(ctx, last, s.Routes); err != nil {
		return err
	}
	s.Served = time.Since(began).Seconds()
	err = lab.Await(ctx, "the addresses in the status of all Ingresses", c.patience, 250*time.Millisecond, func(ctx context.Context) (bool, error) {
		n, err := c.addressed(ctx)
		return n == s.Routes, err
	})
	if err != nil {
		return err
	}
	s.Addressed = time.Since(began).Seconds()
	lab.Progress("%d routes are there: made in %.1f s, served after %.1f s, with addresses after %.1f s", s.Routes, s.Made, s.Served, s.Addressed)
	return c.serve(ctx, 0, s.Routes)
}

// serve waits until every proxy has answered for the routes.
func (c *cluster) serve(ctx context.Context, from, to int) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range c.proxies {
		g.Go(func() error {
			i := from
			return lab.Await(ctx, "the proxies' serving of all routes", c.patience, 5*time.Millisecond, func(ctx context.Context) (bool, error) {
				for ; i < to; i++ {
					a, err := p.ask(ctx, hostOf(routeName(i)))
					if err != nil {
						return false, err // the process may be starting
					}
					if a != answerOf(first) {
						return false, fmt.Errorf("%s answers %v for %s", p.address, a, routeName(i))
					}
				}
				return true, nil
			})
		})
	}
	return g.Wait()
}

// editIngresses makes a new Ingress, edits another one and deletes the new one. Edits of odd numbers undo those before them.
func (c *cluster) editIngresses(ctx context.Context, s *size, i int) error {
	route := c.edited(s, i)
	service, host, fresh := c.service(route), hostOf(routeName(route)), fmt.Sprintf("new-%d-%d", s.Routes, i)
	to, was, is := spareService, first, second
	if i%2 == 1 {
		to, was, is = service, second, first
	}
	for _, e := range []struct {
		kind, host    string
		before, after answer
		write         func(context.Context) error
	}{
		{created, hostOf(fresh), noRoute(), answerOf(first), func(ctx context.Context) error { return c.makeRoute(ctx, fresh, service) }},
		{edited, host, answerOf(was), answerOf(is), func(ctx context.Context) error { return c.moveRoute(ctx, routeName(route), to) }},
		{deleted, hostOf(fresh), answerOf(first), noRoute(), func(ctx context.Context) error { return c.deleteRoute(ctx, fresh) }},
	} {
		if err := c.edit(ctx, s, e.kind, e.host, e.before, e.after, e.write); err != nil {
			return err
		}
	}
	return nil
}

// editEndpoints has a Service lead to the other server, and with an edit of an odd number back again.
func (c *cluster) editEndpoints(ctx context.Context, s *size, i int) error {
	route := c.edited(s, i)
	was, is := first, second
	if i%2 == 1 {
		was, is = second, first
	}
	return c.edit(ctx, s, moved, hostOf(routeName(route)), answerOf(was), answerOf(is), func(ctx context.Context) error {
		return c.moveEndpoint(ctx, c.service(route), is)
	})
}

// edited is the route that an edit is about, the same for one and the one that undoes it; they are spread over all.
func (c *cluster) edited(s *size, i int) int { return i / 2 * s.Routes / (c.edits / 2) % s.Routes }

// edit measures one edit.
func (c *cluster) edit(ctx context.Context, s *size, kind, host string, before, after answer, write func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.patience, fmt.Errorf("a proxy did not follow within %s (-patience)", c.patience))
	defer cancel()
	if err := lab.Sleep(ctx, c.pause); err != nil {
		return err
	}
	for _, p := range c.proxies {
		a, err := p.ask(ctx, host)
		if err != nil {
			return err
		}
		if a != before {
			return fmt.Errorf("%s: %s answers %v for %s before, rather than %v", kind, p.address, a, host, before)
		}
	}
	at := make([]time.Time, len(c.proxies))
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range c.proxies {
		g.Go(func() (err error) {
			at[i], err = p.follow(ctx, host, before, after, c.poll)
			return err
		})
	}
	sent := time.Now()
	var returned time.Time
	g.Go(func() error {
		err := write(ctx)
		returned = time.Now()
		return err
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	last := at[0]
	for _, t := range at {
		if t.After(last) {
			last = t
		}
	}
	s.Edits = append(s.Edits, edit{
		Kind: kind, Write: millis(returned.Sub(sent)), Followed: millis(last.Sub(sent)), After: millis(max(0, last.Sub(returned))),
	})
	return nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
