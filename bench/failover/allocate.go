package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"minato/bench/lab"
)

// rewatch is the time between two watches.
const rewatch = 20 * time.Millisecond

// allocations gives a pool to many Services that wait for one, for each system
// in turn, and then measures one Service more, and one more. The Services are
// there before: how fast the API server makes them is no part of this.
func (c *cluster) allocations(ctx context.Context, res *result) error {
	if c.rounds == 0 {
		return nil
	}
	for _, s := range c.systems {
		began := time.Now()
		if err := c.makeSlices(ctx, s); err != nil {
			return err
		}
		if err := lab.Each(ctx, 0, c.services, func(ctx context.Context, i int) error { return c.create(ctx, s, i) }); err != nil {
			return err
		}
		lab.Progress("%d Services for %s are in the API after %.0f s", c.services, s.name, time.Since(began).Seconds())
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
	return lab.Each(ctx, 0, c.services+1, func(ctx context.Context, i int) error {
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

// follower hears of the Services' addresses.
type follower struct {
	stop  context.CancelFunc
	given chan given
}

type given struct {
	name    string
	address netip.Addr
	at      time.Time
}

// follow tells of addresses that Services get from now on. A watch that the API server ends, as it may, goes on with another
// one.
func (c *cluster) follow(ctx context.Context, s *system) (*follower, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{stop: cancel, given: make(chan given, 2*maxServices)}
	has := map[string]bool{}
	tell := func(svc *corev1.Service, here bool) {
		a := addressOf(svc)
		is := a.IsValid() && here
		if is && !has[svc.Name] {
			f.given <- given{svc.Name, a, time.Now()}
		}
		has[svc.Name] = is
	}
	list := func() (*corev1.ServiceList, error) {
		return c.api.CoreV1().Services(namespace).List(ctx, s.manyOptions())
	}
	known, err := list()
	if err != nil {
		cancel()
		return nil, err
	}
	for i := range known.Items {
		has[known.Items[i].Name] = addressOf(&known.Items[i]).IsValid()
	}
	go func() {
		defer close(f.given)
		for from := known.ResourceVersion; ; {
			options := s.manyOptions()
			options.ResourceVersion = from
			if w, err := c.api.CoreV1().Services(namespace).Watch(ctx, options); err == nil {
				for e := range w.ResultChan() {
					if svc, ok := e.Object.(*corev1.Service); ok {
						tell(svc, e.Type != watch.Deleted)
					}
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(rewatch):
			}
			again, err := list()
			if err != nil {
				return
			}
			for i := range again.Items {
				tell(&again.Items[i], true)
			}
			from = again.ResourceVersion
		}
	}()
	return f, nil
}

// allocation measures one round.
func (c *cluster) allocation(ctx context.Context, s *system) (a allocation, err error) {
	a = allocation{System: s.name, Services: c.services}
	f, err := c.follow(ctx, s)
	if err != nil {
		return a, err
	}
	defer f.stop()
	if err := c.announceMany(ctx, s); err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, c.prober.tell(order{Do: forget}), c.withdraw(ctx, s)) }()
	began := time.Now()
	if err := c.giveMany(ctx, s); err != nil {
		return a, err
	}
	allocated, announced, err := c.answered(ctx, f, c.services, &a)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		a.NotInTime = true
		return a, nil
	}
	if err != nil {
		return a, err
	}
	a.Allocated, a.Announced = seconds(allocated.Sub(began)), seconds(announced.Sub(began))
	for range c.changes {
		began := time.Now()
		if err := c.create(ctx, s, c.services); err != nil {
			return a, err
		}
		written := time.Now()
		_, announced, err := c.answered(ctx, f, 1, &allocation{})
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

func (c *cluster) create(ctx context.Context, s *system, i int) error {
	svc := s.service(s.many(i), "Cluster", nil)
	svc.Labels = map[string]string{manyLabel: s.name}
	_, err := c.api.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{})
	return err
}

// answered waits until n Services have addresses, and somebody answers for each
// of them, and tells when the last one of each was. It counts in a.
func (c *cluster) answered(ctx context.Context, f *follower, n int, a *allocation) (allocated, announced time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	for a.Allocations < n || a.Announcements < n {
		select {
		case g, open := <-f.given:
			if !open {
				return allocated, announced, errors.New("the watch of the Services ended")
			}
			a.Allocations++
			allocated = g.at
			if err := c.prober.tell(order{Do: awaitAll, Addresses: []netip.Addr{g.address}}); err != nil {
				return allocated, announced, err
			}
		case line, open := <-c.prober.lines:
			cl, err := readClaim(line, open)
			if err != nil {
				return allocated, announced, err
			}
			a.Announcements++
			if cl.At.After(announced) {
				announced = cl.At
			}
		case <-ctx.Done():
			return allocated, announced, ctx.Err()
		}
	}
	return allocated, announced, nil
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
