package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"golang.org/x/sync/errgroup"

	"minato/bench/lab"
)

// workers is how many requests are made at the same time.
const workers = 16

// allocations creates many Services for each system in turn, and then one more, and one more.
func (c *cluster) allocations(ctx context.Context, res *result) error {
	if c.rounds == 0 {
		return nil
	}
	for _, s := range c.systems {
		if err := c.makeSlices(ctx, s); err != nil {
			return err
		}
	}
	for i := range c.rounds {
		for _, s := range c.systems {
			a, err := c.allocation(ctx, s)
			res.Allocations = append(res.Allocations, a)
			if err != nil {
				return fmt.Errorf("%d Services of %s, round %d: %w", c.services, s.name, i+1, err)
			}
			lab.Progress("%d Services, %d of %d, %s: %s", c.services, i+1, c.rounds, s.name, a)
		}
	}
	return nil
}

func (s *system) many(i int) string { return fmt.Sprintf("%s-%d", s.name, i) }

// makeSlices makes the endpoints of the Services to come, one more than they
// are: what is measured is the load balancer, not who fills in endpoints.
func (c *cluster) makeSlices(ctx context.Context, s *system) error {
	var endpoints []discoveryv1.Endpoint
	isReady := true
	for _, node := range c.nodeNames() {
		pod, err := c.api.CoreV1().Pods(namespace).Get(ctx, podName(node), metav1.GetOptions{})
		if err != nil {
			return err
		}
		endpoints = append(endpoints, discoveryv1.Endpoint{
			Addresses: []string{pod.Status.PodIP}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &isReady, Serving: &isReady},
		})
	}
	name, number, protocol := "http", int32(endpointPort), corev1.ProtocolTCP
	return each(ctx, c.services+1, func(ctx context.Context, i int) error {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: s.many(i), Labels: map[string]string{
				discoveryv1.LabelServiceName: s.many(i), discoveryv1.LabelManagedBy: "bench.minato.local",
			}},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
			Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &protocol}},
		}
		_, err := c.api.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{})
		return err
	})
}

// each calls fn with 0 to n-1, a few at the same time.
func each(ctx context.Context, n int, fn func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range n {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return fn(ctx, i)
		})
	}
	return g.Wait()
}

// follower hears of the Services' addresses.
type follower struct {
	watch watch.Interface
	given chan given
}

type given struct {
	name    string
	address netip.Addr
	at      time.Time
}

func (c *cluster) follow(ctx context.Context, s *system) (*follower, error) {
	options := metav1.ListOptions{LabelSelector: benchLabel + "=" + s.name}
	list, err := c.api.CoreV1().Services(namespace).List(ctx, options)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for i := range list.Items {
		seen[list.Items[i].Name] = true
	}
	options.ResourceVersion = list.ResourceVersion
	w, err := c.api.CoreV1().Services(namespace).Watch(ctx, options)
	if err != nil {
		return nil, err
	}
	f := &follower{watch: w, given: make(chan given, 2*maxServices)}
	go func() {
		defer close(f.given)
		for e := range w.ResultChan() {
			svc, ok := e.Object.(*corev1.Service)
			if !ok || seen[svc.Name] && e.Type != watch.Deleted {
				continue
			}
			if a := addressOf(svc); e.Type == watch.Deleted {
				delete(seen, svc.Name)
			} else if a.IsValid() {
				seen[svc.Name] = true
				f.given <- given{svc.Name, a, time.Now()}
			}
		}
	}()
	return f, nil
}

// allocation measures one round, and removes its Services.
func (c *cluster) allocation(ctx context.Context, s *system) (a allocation, err error) {
	a = allocation{System: s.name, Services: c.services}
	f, err := c.follow(ctx, s)
	if err != nil {
		return a, err
	}
	defer f.watch.Stop()
	defer func() { err = errors.Join(err, c.prober.tell(order{Do: forget}), c.deleteMany(ctx, s)) }()
	if err := c.createMany(ctx, s, f, &a); err != nil || a.NotInTime {
		return a, err
	}
	for range c.changes {
		began := time.Now()
		if err := c.create(ctx, s, c.services); err != nil {
			return a, err
		}
		written := time.Now()
		_, announced, _, _, err := c.answered(ctx, f, 1)
		if err != nil {
			return a, err
		}
		a.Changes = append(a.Changes, millis(announced.Sub(began)))
		a.Writes = append(a.Writes, millis(written.Sub(began)))
		if err := c.deleteOne(ctx, s, c.services); err != nil {
			return a, err
		}
	}
	return a, nil
}

// createMany creates the Services and waits until they are answered for.
func (c *cluster) createMany(ctx context.Context, s *system, f *follower, a *allocation) error {
	limited, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	began := time.Now()
	var created atomic.Int64
	var allocated, announced time.Time
	g, limited := errgroup.WithContext(limited)
	g.Go(func() error {
		err := each(limited, c.services, func(ctx context.Context, i int) error {
			defer created.Add(1)
			return c.create(ctx, s, i)
		})
		a.Created = seconds(time.Since(began))
		return err
	})
	g.Go(func() (err error) {
		allocated, announced, a.Allocations, a.Announcements, err = c.answered(limited, f, c.services)
		return err
	})
	err := g.Wait()
	a.Creations = int(created.Load())
	if err != nil && ctx.Err() == nil && time.Since(began) >= c.patience {
		a.NotInTime = true
		return nil
	}
	if err == nil {
		a.Allocated, a.Announced = seconds(allocated.Sub(began)), seconds(announced.Sub(began))
	}
	return err
}

func (c *cluster) create(ctx context.Context, s *system, i int) error {
	_, err := c.api.CoreV1().Services(namespace).Create(ctx, s.service(s.many(i), "Cluster", nil), metav1.CreateOptions{})
	return err
}

// answered waits until n Services have addresses, and somebody answers for each of them.
func (c *cluster) answered(ctx context.Context, f *follower, n int) (allocated, announced time.Time, given, answers int, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	for given < n || answers < n {
		select {
		case g, open := <-f.given:
			if !open {
				return allocated, announced, given, answers, errors.New("the watch of the Services ended")
			}
			given++
			allocated = g.at
			if err := c.prober.tell(order{Do: awaitAll, Addresses: []netip.Addr{g.address}}); err != nil {
				return allocated, announced, given, answers, err
			}
		case line, open := <-c.prober.lines:
			cl, err := readClaim(line, open)
			if err != nil {
				return allocated, announced, given, answers, err
			}
			answers++
			if cl.At.After(announced) {
				announced = cl.At
			}
		case <-ctx.Done():
			return allocated, announced, given, answers, ctx.Err()
		}
	}
	return allocated, announced, given, answers, nil
}

// deleteOne returns when the Service is gone.
func (c *cluster) deleteOne(ctx context.Context, s *system, i int) error {
	services := c.api.CoreV1().Services(namespace)
	if err := services.Delete(ctx, s.many(i), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return c.await(ctx, "the end of Service "+s.many(i), func(ctx context.Context) (bool, error) {
		_, err := services.Get(ctx, s.many(i), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

func (c *cluster) deleteMany(ctx context.Context, s *system) error {
	return each(ctx, c.services+1, func(ctx context.Context, i int) error { return c.deleteOne(ctx, s, i) })
}
