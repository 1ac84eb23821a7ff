package ingress

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/ingress"
)

// newController returns what writes status and events.
func (a *alone) newController() (*ingress.Controller, error) {
	main := a.factories[0]
	cfg := ingress.ControllerConfig{
		Client: a.client, Ingresses: main.Networking().V1().Ingresses(), Classes: main.Networking().V1().IngressClasses(),
		Services: a.published.Core().V1().Services(), Slices: a.published.Discovery().V1().EndpointSlices(),
		Options: a.plan.options, Publish: a.plan.publish, Addresses: a.plan.addresses, NoStatus: !a.cfg.UpdateStatus,
		Namespaces: a.namespaces, Events: events{a}, Logger: a.log,
	}
	if a.places != nil {
		cfg.Find = a.places.find
	}
	return ingress.NewController(cfg)
}

// compete writes status and events whenever this process is the one that does. It gives the Lease up as soon as the process
// is told to end.
func (a *alone) compete(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(a.told, stop)()
	if a.cfg.NoElection {
		return a.control(ctx)
	}
	l := foreign.Leader{
		Client: a.electing, Namespace: a.plan.lease.Namespace, Name: a.plan.lease.Name, Identity: a.plan.identity, Duration: a.cfg.ElectionTTL,
		Work: a.control, Begins: "This process writes the status of Ingresses, and events, from now on", Logger: a.log,
	}
	err := l.Run(ctx)
	if a.told.Err() != nil {
		return nil
	}
	return err
}

// control writes status and events until ctx ends.
func (a *alone) control(ctx context.Context) error {
	c, err := a.newController()
	if err != nil {
		return err
	}
	a.controller.Store(c)
	defer a.controller.Store(nil)
	// Findings that came while nobody here took them are told now.
	c.Found(a.node.Findings(true))
	if a.places != nil {
		defer a.places.follow(c.Moved)()
	}
	if err := c.Run(ctx); err != nil {
		return err
	}
	if a.told.Err() != nil && a.cfg.UpdateStatus && a.cfg.ClearStatus {
		a.clearStatus(c)
	}
	return nil
}

// clearTimeout bounds how long the end of the last Pod waits for the API server.
const clearTimeout = 10 * time.Second

// clearStatus takes the addresses away if this Pod is the last one: nobody is at them any more. Outside of Pods, nobody knows
// how many processes there are, and addresses stay.
func (a *alone) clearStatus(c *ingress.Controller) {
	if a.plan.pod.Name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.told), clearTimeout)
	defer cancel()
	others, err := a.otherPods(ctx)
	if err == nil && others > 0 {
		return
	}
	if err == nil {
		err = c.Clear(ctx)
	}
	if err != nil {
		a.log.Warn("The addresses of Ingresses could not be taken away", "error", err)
	}
}

// streamRetry is the pause before the port of a stream is tried again.
const streamRetry = 5 * time.Second

// followNode passes on what the Node finds, and opens the ports of streams.
func (a *alone) followNode(ctx context.Context) error {
	streams := ingress.NewStreamListeners(a.node)
	defer streams.Close()
	var again <-chan time.Time
	failing := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.node.Changed():
		case <-again:
		}
		again = nil
		err := streams.Look(ctx, everywhere{})
		if err != nil {
			again = time.After(streamRetry)
		}
		if text := fmt.Sprint(err); err != nil && text != failing {
			failing = text
			a.log.Error("A port of the ConfigMaps of TCP and UDP services can't be opened, which is tried again", "error", err)
		} else if err == nil {
			failing = ""
		}
		c := a.controller.Load()
		if c == nil {
			continue // whoever leads tells of what its own Node finds, which is the same
		}
		if all := a.node.Findings(false); len(all) > 0 {
			c.Found(all)
		}
	}
}

// events leaves out what a flag says.
type events struct{ *alone }

// Event implements ingress.Events.
func (e events) Event(source string, about corev1.ObjectReference, eventType, reason, message string) {
	if reason == "Sync" && e.cfg.NoSyncEvents {
		return
	}
	e.alone.events.Event(source, about, eventType, reason, message)
}
