package apiserver

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apiserver/pkg/authorization/authorizer"
	corelisters "k8s.io/client-go/listers/core/v1"

	"minato/internal/controlplane/access"
	"minato/internal/controlplane/memory"
)

const (
	rightsPoll = 2 * time.Millisecond
	// rightsPatience bounds the wait for rights that somebody may have taken away
	// on purpose: then the part that lacks them says so, and the others work.
	rightsPatience = 5 * time.Second
)

// rights tells whether the authorizer's informers have the roles and bindings that the bootstrap wrote. An earlier
// request of a part is refused, and a refused watch is not tried again before a second has passed.
type rights struct {
	authorizer authorizer.Authorizer
	probes     []access.Probe
	namespaces corelisters.NamespaceLister
}

// wait returns true when Minato's parts have their rights, or still lack them after rightsPatience, and false when ctx
// has ended.
func (r *rights) wait(ctx context.Context, log *slog.Logger) bool {
	tick, late := time.NewTicker(rightsPoll), time.NewTimer(rightsPatience)
	defer tick.Stop()
	defer late.Stop()
	for {
		missing := r.missing(ctx, r.probes)
		if missing == "" {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-late.C:
			log.Warn("A part of Minato lacks a right that it needs; restore the roles that begin with system:minato, or delete them and start the server again", "missing", missing)
			return true
		case <-tick.C:
		}
	}
}

// ofAdmins names what the administrators still lack; empty when it is nothing.
func (r *rights) ofAdmins(ctx context.Context) string {
	return r.missing(ctx, []access.Probe{{Group: access.GroupAdmins, Verb: "get", Resource: "nodes"}})
}

// missing names the first right that the authorizer does not know.
func (r *rights) missing(ctx context.Context, probes []access.Probe) string {
	for _, p := range probes {
		if ns, err := r.namespaces.Get(p.Namespace); err == nil && ns.DeletionTimestamp != nil {
			continue // nobody gets rights there before it is gone
		}
		groups := []string{}
		if p.Group != "" {
			groups = append(groups, p.Group)
		}
		attributes := authorizer.AttributesRecord{
			User: memory.NewUser(p.User, groups...), Verb: p.Verb, Namespace: p.Namespace,
			APIGroup: p.APIGroup, APIVersion: "*", Resource: p.Resource, Name: p.Name, ResourceRequest: true,
		}
		if decision, _, _ := r.authorizer.Authorize(ctx, attributes); decision != authorizer.DecisionAllow {
			return fmt.Sprintf("%s%s may %s %s", p.User, p.Group, p.Verb, p.Resource)
		}
	}
	return ""
}
