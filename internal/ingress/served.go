package ingress

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// served is what a Helper serves of the Ingresses that it was told of, as far as it has said so. What is told goes in
// batches, which it takes in their order.
type served struct {
	mu    sync.Mutex
	live  map[types.NamespacedName]types.UID
	under []map[types.NamespacedName]types.UID // batches that were sent and are not served yet; the UID of what is gone is ""
}

// begin forgets everything: another connection is told everything anew.
func (s *served) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.under = map[types.NamespacedName]types.UID{}, nil
}

// sent notes a batch before it is sent.
func (s *served) sent(batch []*item) {
	told := map[types.NamespacedName]types.UID{}
	for _, it := range batch {
		if it.key.Kind != KindIngress {
			continue
		}
		told[it.key.named()] = ""
		if o, ok := it.object.(interface{ GetUID() types.UID }); ok {
			told[it.key.named()] = o.GetUID()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under = append(s.under, told)
}

// applied notes that the oldest batch is served, and returns the Ingresses in it.
func (s *served) applied() []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.under) == 0 {
		return nil
	}
	told := s.under[0]
	s.under = s.under[1:]
	names := make([]types.NamespacedName, 0, len(told))
	for name, uid := range told {
		if uid == "" {
			delete(s.live, name)
			continue
		}
		s.live[name] = uid
		names = append(names, name)
	}
	return names
}

func (s *served) has(name types.NamespacedName, uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[name] == uid
}
