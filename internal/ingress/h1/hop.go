package h1

// hopByHop are the fields that concern one connection (RFC 9110, 7.6.1) whatever
// Connection says. Proxy-Authenticate and Proxy-Authorization are not among them:
// they may be meant for another proxy (RFC 9110, 11.7), and nginx passes them.
const hopByHop = 1<<Connection | 1<<KeepAlive | 1<<ProxyConnection | 1<<TransferEncoding | 1<<Upgrade | 1<<Trailer | 1<<TE | 1<<HTTP2Settings

// RemoveHopByHop removes the fields that concern the connection a message came on:
// Connection and the fields it names, Keep-Alive, Proxy-Connection,
// Transfer-Encoding, Trailer, HTTP2-Settings, TE (kept as "trailers" if it has that)
// and Upgrade (kept if upgrade is true, for a request that WantsUpgrade or a response
// of 101). Content-Length stays. Whoever writes the head adds Connection.
//
// nginx ignores the names in Connection; RFC 9110 wants them removed. Removing just
// any would let a client strip what a gateway before this one has set, as
// X-Forwarded-For or X-Real-IP: of the known fields none is removed for being named
// there, nor is one whose name begins with "X-Forwarded-", "X-Real-", "X-Original-",
// "X-Auth-" or "Content-". The fields that the ingress sets are to be set afterwards.
func (h *Header) RemoveHopByHop(upgrade bool) {
	if h.present&hopByHop == 0 {
		return
	}
	if h.connectionOptions()&optionOther != 0 {
		h.removeNamed()
	}
	mask := uint64(hopByHop)
	if upgrade {
		mask &^= 1 << Upgrade
	}
	if h.Has(TE) && h.HasToken(TE, "trailers") {
		// The value has no byte that a field cannot have.
		_ = h.SetString(TE, "trailers")
		mask &^= 1 << TE
	}
	h.DelMask(mask)
}

// maxNamed bounds the names in Connection that are honoured.
const maxNamed = 64

// removeNamed removes the unknown fields that Connection names, the first maxNamed
// names of it.
func (h *Header) removeNamed() {
	named := 0
	for i := 0; i < len(h.fields); i++ {
		if h.fields[i].id != Connection {
			continue
		}
		for list := h.valueOf(&h.fields[i]); len(list) > 0 && named < maxNamed; named++ {
			var e []byte
			e, list = nextElement(list)
			if len(e) > 0 && idOf(e) == Unknown && !protectedName(e) {
				h.delUnknown(e, &i)
			}
		}
	}
}

// delUnknown removes the unknown fields called name, and moves *at along with the
// field that it is the index of.
func (h *Header) delUnknown(name []byte, at *int) {
	n, shift := 0, 0
	for i := range h.fields {
		f := h.fields[i]
		if f.id == Unknown && int(f.nameLen) == len(name) && equalFold(h.nameOf(&f), name) {
			if i < *at {
				shift++
			}
			continue
		}
		h.fields[n] = f
		n++
	}
	h.fields = h.fields[:n]
	*at -= shift
}

// protectedName tells whether Connection cannot have a field removed.
func protectedName(name []byte) bool {
	for _, prefix := range [...]string{"x-forwarded-", "x-real-", "x-original-", "x-auth-", "content-"} {
		if len(name) >= len(prefix) && equalFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
