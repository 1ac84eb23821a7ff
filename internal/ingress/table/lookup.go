package table

// Upstream returns what applies to a Service's port, as the last Table has it; nil if no Ingress names it.
func (b *Builder) Upstream(ref BackendRef) *Upstream {
	if u := b.upstreams[ref]; u != nil {
		return u.full
	}
	return nil
}
