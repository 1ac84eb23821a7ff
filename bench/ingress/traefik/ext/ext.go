// Package ext is the place where builds of Traefik put options of their own. Its releases leave it out of their module,
// so one without any has to be beside what builds them.
package ext

// HTTP has no options.
type HTTP struct{}

// DeepCopyInto copies nothing.
func (HTTP) DeepCopyInto(*HTTP) {}

// Router has no options.
type Router struct{}

// DeepCopyInto copies nothing.
func (Router) DeepCopyInto(*Router) {}
