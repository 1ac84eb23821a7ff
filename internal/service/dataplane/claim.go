package dataplane

// claim takes the place of a frontend. Who comes first keeps it, but a Pod's hostPort gives way to a Service, as rules of
// the portmap CNI plugin come after those of kube-proxy.
func (c *change) claim(h *held, k frontendKey) bool {
	owner := c.r.owners[k.place()]
	if c.r.owns(h, k) {
		c.r.owners[k.place()] = h
		return true
	}
	if isPod(owner.key) && !isPod(h.key) && !c.givesUp(owner, k) {
		c.warnTaken(owner, h, k)
		c.took[k.place()] = owner
		c.r.evicted[owner.key] = true
		c.r.owners[k.place()] = h
		return true
	}
	c.warnTaken(h, owner, k)
	return false
}

// givesUp tells whether this change already deletes the frontend of its owner. Then its place is free after the change.
func (c *change) givesUp(owner *held, k frontendKey) bool {
	s := c.steps[owner.key]
	if s == nil {
		return false
	}
	_, keeps := s.new.entries.get(k)
	return !keeps
}

func (c *change) warnTaken(loser, winner *held, k frontendKey) {
	c.r.log.Warn("A frontend is not served, because its address and port belong to another Service or Pod", "of", loser.key, "owner", winner.key,
		"address", k.Addr.Addr(), "port", k.Port.Number(), "protocol", k.Proto)
}
