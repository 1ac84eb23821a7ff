package dra

import (
	"context"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// named is a claim of a Pod; owned is one that was made for the Pod.
type named struct {
	name  string
	owned bool
}

// claimNames are the ResourceClaims of a Pod. One that a template turned out not to need
// is left out.
func claimNames(pod *v1.Pod) ([]named, error) {
	var out []named
	for i := range pod.Spec.ResourceClaims {
		name, owned, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil {
			return nil, err
		}
		if name != nil {
			out = append(out, named{*name, owned})
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil { // KEP-5004
		out = append(out, named{name: s.ResourceClaimName})
	}
	return out, nil
}

// use is a request of a claim that a container uses; "" is all of them.
type use struct{ claim, request string }

// used are the claims that a container uses.
func used(pod *v1.Pod, c *v1.Container) ([]use, error) {
	var out []use
	for i := range pod.Spec.ResourceClaims {
		for _, wanted := range c.Resources.Claims {
			if wanted.Name != pod.Spec.ResourceClaims[i].Name {
				continue
			}
			name, _, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
			if err != nil {
				return nil, err
			}
			if name != nil {
				out = append(out, use{*name, wanted.Request})
			}
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		for _, m := range s.RequestMappings {
			if q := c.Resources.Requests[v1.ResourceName(m.ResourceName)]; m.ContainerName == c.Name && !q.IsZero() {
				out = append(out, use{s.ResourceClaimName, m.RequestName})
			}
		}
	}
	return out, nil
}

// locks are one lock for each claim.
type locks struct {
	mu   sync.Mutex
	held map[key]chan struct{}
}

// lock waits for a claim until ctx ends.
func (l *locks) lock(ctx context.Context, k key) (unlock func(), err error) {
	for {
		l.mu.Lock()
		if l.held == nil {
			l.held = map[key]chan struct{}{}
		}
		other, taken := l.held[k]
		if !taken {
			mine := make(chan struct{})
			l.held[k] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, k)
				l.mu.Unlock()
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
