package api

import (
	"errors"
	"fmt"
	"net/http"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Bounds is how many of something may be open at a time: on the node, and for
// one Pod.
type Bounds struct{ Node, Pod int }

// orDefault fills in what is not set. A session of exec has a process and three
// pipes besides its connection; a reader of logs has an open file, and looks at
// it 20 times a second if it follows.
func (b Bounds) orDefault(node, pod int) Bounds {
	if b.Node == 0 {
		b.Node = node
	}
	if b.Pod == 0 {
		b.Pod = pod
	}
	return b
}

// counter counts what is open.
type counter struct {
	what   string // in the plural, for messages
	bounds Bounds

	mu  sync.Mutex
	all int
	pod map[types.UID]int
}

func newCounter(what string, bounds Bounds) *counter {
	return &counter{what: what, bounds: bounds, pod: map[types.UID]int{}}
}

// enter counts one in for a Pod, until leave is called.
func (c *counter) enter(pod *v1.Pod) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= c.bounds.Node:
		return nil, &tooManyError{fmt.Sprintf("the node has %d %s open, the most that it serves at a time; close some of them and try again", c.all, c.what)}
	case c.pod[pod.UID] >= c.bounds.Pod:
		return nil, &tooManyError{fmt.Sprintf("pod %q has %d %s open, the most that the node serves for one pod at a time; close some of them and try again", pod.Namespace+"/"+pod.Name, c.pod[pod.UID], c.what)}
	}
	c.all++
	c.pod[pod.UID]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.pod[pod.UID]--; c.pod[pod.UID] == 0 {
			delete(c.pod, pod.UID)
		}
	}), nil
}

// tooManyError is answered with 429.
type tooManyError struct{ message string }

func (e *tooManyError) Error() string { return e.message }

// notFoundError is answered with 404.
type notFoundError struct{ message string }

func (e *notFoundError) Error() string { return e.message }

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var missing *notFoundError
	var tooMany *tooManyError
	switch {
	case errors.As(err, &missing):
		status = http.StatusNotFound
	case errors.As(err, &tooMany):
		status = http.StatusTooManyRequests
	}
	http.Error(w, err.Error(), status)
}
