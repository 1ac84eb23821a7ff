package controllers

import (
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/client-go/informers"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/controller-manager/controller"
	controllerhealthz "k8s.io/controller-manager/pkg/healthz"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// Upstream's programs that a Manager stands for.
const (
	Scheduler         = "kube-scheduler"
	ControllerManager = "kube-controller-manager"
)

// errNotRunning is how the scheduler and the controllers are between two runs.
var errNotRunning = errors.New("it is not running; the server starts it again")

// health is how the scheduler and the controllers of one run can be asked how they
// are, by the program's name.
type health map[string]*program

type program struct {
	live, ready []healthz.HealthChecker
	handler     http.Handler
}

// newHealth has the checks that upstream's programs have: a controller that can tell
// how it is is asked, and another one has ended the run if it does not run.
func newHealth(done <-chan struct{}, factory informers.SharedInformerFactory, all []app.Controller, sched *podScheduler) health {
	var controllers []healthz.HealthChecker
	for _, c := range all {
		check := controllerhealthz.NamedPingChecker(c.Name())
		if able, ok := c.(controller.HealthCheckable); ok {
			if own := able.HealthChecker(); own != nil {
				check = controllerhealthz.NamedHealthChecker(c.Name(), own)
			}
		}
		controllers = append(controllers, check)
	}
	handlers := healthz.NamedCheck("sched-handler-sync", func(*http.Request) error {
		select {
		case <-sched.synced:
			return nil
		default:
			return errors.New("handlers are not fully synchronized")
		}
	})
	shutdown := healthz.NewShutdownHealthz(done)
	h := health{
		ControllerManager: {live: controllers, ready: append(controllers[:len(controllers):len(controllers)], shutdown, healthz.NewInformerSyncHealthz(factory))},
		Scheduler:         {live: []healthz.HealthChecker{healthz.PingHealthz}, ready: []healthz.HealthChecker{healthz.PingHealthz, shutdown, handlers}},
	}
	for name, p := range h {
		paths := mux.NewPathRecorderMux(name)
		healthz.InstallHandler(paths, p.live...)
		healthz.InstallLivezHandler(paths, p.live...)
		healthz.InstallReadyzHandler(paths, p.ready...)
		// One process, one registry: it has the API server's metrics as well.
		paths.Handle("/metrics", legacyregistry.Handler())
		p.handler = paths
	}
	return h
}

// Check asks one of the programs how it is, as its /readyz does.
func (m *Manager) Check(name string) error {
	h := m.health.Load()
	if h == nil {
		return errNotRunning
	}
	p := (*h)[name]
	if p == nil {
		return fmt.Errorf("there is no program %q", name)
	}
	for _, c := range p.ready {
		if err := c.Check(&http.Request{}); err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	return nil
}

// ServeProgram answers /healthz, /livez, /readyz and /metrics of one of the
// programs; it asks nobody who he is.
func (m *Manager) ServeProgram(name string, w http.ResponseWriter, r *http.Request) {
	h := m.health.Load()
	if h == nil || (*h)[name] == nil {
		http.Error(w, fmt.Sprintf("%s: %v", name, errNotRunning), http.StatusServiceUnavailable)
		return
	}
	(*h)[name].handler.ServeHTTP(w, r)
}
