package node

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// usernsStarts counts Pods with a user namespace (hostUsers: false) by their sandboxes,
// under the kubelet's names (KEP-127). A sandbox that can't be made, or in which a
// container can't be made or started, is one failure, however often that is tried.
type usernsStarts struct {
	started, failed prometheus.Counter

	mu         sync.Mutex
	sandboxes  map[string]bool   // whether the failure of one is counted
	containers map[string]string // their sandboxes
}

func newUsernsStarts() *usernsStarts {
	return &usernsStarts{
		started: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kubelet_started_user_namespaced_pods_total", Help: "Cumulative number of pods with user namespaces started.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kubelet_started_user_namespaced_pods_errors_total", Help: "Cumulative number of errors when starting pods with user namespaces.",
		}),
		sandboxes: map[string]bool{}, containers: map[string]string{},
	}
}

// sandbox notes that a sandbox was made, or not.
func (u *usernsStarts) sandbox(config *runtimeapi.PodSandboxConfig, id string, err error) {
	options := config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()
	if options == nil || options.GetMode() != runtimeapi.NamespaceMode_POD {
		return
	}
	u.started.Inc()
	if err != nil {
		u.failed.Inc()
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sandboxes[id] = false
}

// created notes that a container was made in a sandbox, or not.
func (u *usernsStarts) created(sandbox, id string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch _, known := u.sandboxes[sandbox]; {
	case known && err != nil:
		u.fail(sandbox)
	case known:
		u.containers[id] = sandbox
	}
}

// ran notes that a container was started, or not.
func (u *usernsStarts) ran(id string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if sandbox, known := u.containers[id]; known && err != nil {
		u.fail(sandbox)
	}
	delete(u.containers, id)
}

func (u *usernsStarts) fail(sandbox string) {
	if failed, known := u.sandboxes[sandbox]; known && !failed {
		u.sandboxes[sandbox] = true
		u.failed.Inc()
	}
}

// removed forgets a sandbox.
func (u *usernsStarts) removed(sandbox string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.sandboxes, sandbox)
	for id, of := range u.containers {
		if of == sandbox {
			delete(u.containers, id)
		}
	}
}
