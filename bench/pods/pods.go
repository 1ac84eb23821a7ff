package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"minato/bench/lab"
)

// ofThisRun selects the Pods.
const ofThisRun = "bench=pods"

// startUp is the time that the program in a container has to install its signal handlers.
const startUp = 200 * time.Millisecond

func podName(i int) string { return fmt.Sprintf("pod-%d", i) }

func pod(i int) *corev1.Pod {
	grace := int64(5)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: podName(i), Labels: map[string]string{"bench": "pods"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "main", Image: image, ImagePullPolicy: corev1.PullNever}},
		},
	}
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// follower is a watch of the Pods as a plain `kubectl get pods -w` has it: nobody opens it again once it has ended.
type follower struct {
	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	ready map[string]time.Time
	gone  map[string]time.Time
	moved chan struct{} // holds a token after something happened
	ended bool
}

func (c *cluster) follow(ctx context.Context) (*follower, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := c.api.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: ofThisRun})
	if err != nil {
		cancel()
		return nil, err
	}
	f := &follower{stop: cancel, done: make(chan struct{}), ready: map[string]time.Time{}, gone: map[string]time.Time{}, moved: make(chan struct{}, 1)}
	go func() {
		defer close(f.done)
		for e := range w.ResultChan() {
			f.take(e)
		}
		f.mu.Lock()
		f.ended = ctx.Err() == nil
		f.mu.Unlock()
		f.wake()
	}()
	return f, nil
}

func (f *follower) take(e watch.Event) {
	p, ok := e.Object.(*corev1.Pod)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case e.Type == watch.Deleted:
		f.gone[p.Name] = time.Now()
	case isReady(p) && f.ready[p.Name].IsZero():
		f.ready[p.Name] = time.Now()
	default:
		return
	}
	f.wake()
}

func (f *follower) wake() {
	select {
	case f.moved <- struct{}{}:
	default:
	}
}

var errWatchEnded = errors.New("the watch has ended")

// await returns when so many are Ready, or gone.
func (f *follower) await(ctx context.Context, n int, of func(*follower) map[string]time.Time) error {
	for {
		f.mu.Lock()
		have, ended := len(of(f)), f.ended
		f.mu.Unlock()
		switch {
		case have >= n:
			return nil
		case ended:
			return errWatchEnded
		}
		select {
		case <-f.moved:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d Pods: %w", have, n, context.Cause(ctx))
		}
	}
}

func readyOf(f *follower) map[string]time.Time { return f.ready }
func goneOf(f *follower) map[string]time.Time  { return f.gone }

// one makes Pods one after the other, and tells how long each took until it was Ready, and until it was gone, in milliseconds.
func (c *cluster) one(ctx context.Context) (ready, gone []float64, err error) {
	lab.Progress("%d Pods one after the other", c.singles)
	pods := c.api.CoreV1().Pods(namespace)
	for i := range c.singles {
		ctx, cancel := context.WithTimeoutCause(ctx, c.patience, fmt.Errorf("Pod %s took more than %s (-patience)", podName(i), c.patience))
		defer cancel()
		f, err := c.follow(ctx)
		if err != nil {
			return ready, gone, err
		}
		began := time.Now()
		if _, err := pods.Create(ctx, pod(i), metav1.CreateOptions{}); err != nil {
			return ready, gone, err
		}
		if err := f.await(ctx, 1, readyOf); err != nil {
			return ready, gone, err
		}
		ready = append(ready, millis(time.Since(began)))
		// A process that is told to end before it is ready for that goes on until the grace period is over.
		if err := lab.Sleep(ctx, startUp); err != nil {
			return ready, gone, err
		}
		began = time.Now()
		if err := pods.Delete(ctx, podName(i), metav1.DeleteOptions{}); err != nil {
			return ready, gone, err
		}
		if err := f.await(ctx, 1, goneOf); err != nil {
			return ready, gone, err
		}
		gone = append(gone, millis(time.Since(began)))
		f.stop()
		<-f.done
	}
	return ready, gone, nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// burst makes n Pods at once, has them idle, and ends them at once.
func (c *cluster) burst(ctx context.Context, n int) (b burst, still idle, err error) {
	lab.Progress("%d Pods at once", n)
	b.Pods = n
	ctx, cancel := context.WithTimeoutCause(ctx, c.patience+2*c.settle, fmt.Errorf("%d Pods took more than %s (-patience)", n, c.patience))
	defer cancel()
	f, err := c.follow(ctx)
	if err != nil {
		return b, still, err
	}
	defer func() { f.stop(); <-f.done }()
	reads := c.read(ctx)
	began, used := time.Now(), c.used()
	if err := c.create(ctx, n); err != nil {
		return b, still, err
	}
	err = f.await(ctx, n, readyOf)
	if errors.Is(err, errWatchEnded) {
		// That is what was to be found out; the rest is asked for.
		b.WatchEnded++
		err = c.await(ctx, "the Pods to be Ready", func(ctx context.Context) (bool, error) { return c.allReady(ctx, n) })
	}
	if err != nil {
		return b, still, err
	}
	b.Ready, b.Made = time.Since(began).Seconds(), c.perPod(used, n)
	latencies := reads()
	b.ReadP50, b.ReadMax = lab.Quantile(latencies, 0.5), lab.Quantile(latencies, 1)
	var each []float64
	f.mu.Lock()
	for _, at := range f.ready {
		each = append(each, at.Sub(began).Seconds())
	}
	f.mu.Unlock()
	b.ReadyP50 = lab.Median(each)
	if still, err = c.idle(ctx, n); err != nil {
		return b, still, err
	}
	if b.Restarts, err = c.restarts(ctx); err != nil {
		return b, still, err
	}
	began, used = time.Now(), c.used()
	if err := c.api.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: ofThisRun}); err != nil {
		return b, still, err
	}
	err = c.await(ctx, "the end of the Pods", func(ctx context.Context) (bool, error) {
		list, err := c.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: ofThisRun, Limit: 1})
		return err == nil && len(list.Items) == 0, err
	})
	b.Gone, b.Ended = time.Since(began).Seconds(), c.perPod(used, n)
	return b, still, err
}

// used is what the processors have done until now.
func (c *cluster) used() processor {
	return processor{Server: millis(lab.CPUOf(c.pid)), Machine: millis(lab.BusyTime())}
}

// perPod is what they have done since then, for each of n Pods.
func (c *cluster) perPod(since processor, n int) processor {
	now := c.used()
	return processor{Server: (now.Server - since.Server) / float64(n), Machine: (now.Machine - since.Machine) / float64(n)}
}

func (c *cluster) create(ctx context.Context, n int) error {
	return lab.Each(ctx, 0, n, func(ctx context.Context, i int) error {
		_, err := c.api.CoreV1().Pods(namespace).Create(ctx, pod(i), metav1.CreateOptions{})
		return err
	})
}

func (c *cluster) allReady(ctx context.Context, n int) (bool, error) {
	list, err := c.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: ofThisRun})
	if err != nil {
		return false, err
	}
	ready := 0
	for i := range list.Items {
		if isReady(&list.Items[i]) {
			ready++
		}
	}
	return ready >= n, nil
}

func (c *cluster) restarts(ctx context.Context) (int, error) {
	list, err := c.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: ofThisRun})
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range list.Items {
		for _, s := range list.Items[i].Status.ContainerStatuses {
			n += int(s.RestartCount)
		}
	}
	return n, nil
}

// readEach is how often the API is asked while Pods start.
const readEach = 50 * time.Millisecond

// read reads an object from the store again and again, until the returned function is called: it returns how long each
// answer took, in milliseconds.
func (c *cluster) read(ctx context.Context) (stop func() []float64) {
	ctx, cancel := context.WithCancel(ctx)
	var latencies []float64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			began := time.Now()
			_, err := c.api.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
			if ctx.Err() != nil {
				return
			}
			took := time.Since(began)
			if err != nil {
				took = c.patience // no answer is the worst one
			}
			latencies = append(latencies, millis(took))
			_ = lab.Sleep(ctx, readEach) // the loop looks at ctx
		}
	}()
	return func() []float64 {
		cancel()
		<-done
		return latencies
	}
}
